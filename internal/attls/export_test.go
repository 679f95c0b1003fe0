package attls

// The insides that tests look at from outside.
var (
	EncodeRequest = encodeRequest
	ParseRequest  = parseRequest
	ReadFrame     = readFrame
	GoesWith      = goesWith
	ErrMessage    = errMessage
	ErrBusy       = errBusy
)
