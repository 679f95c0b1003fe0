package kmssim

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// failure is an error as KMS answers it. An empty message is left out, as KMS
// does for InvalidCiphertextException.
type failure struct {
	status        int
	code, message string
}

func (f *failure) Error() string { return f.code + ": " + f.message }

// body is the JSON that goes with the status. KMS writes "Message" in access
// errors and "message" in all others.
func (f *failure) body() []byte {
	out := map[string]string{"__type": f.code}
	switch {
	case f.message == "":
	case f.code == accessDenied:
		out["Message"] = f.message
	default:
		out["message"] = f.message
	}
	b, err := json.Marshal(out)
	if err != nil { // a map of strings always encodes
		return []byte(`{}`)
	}
	return b
}

const accessDenied = "AccessDeniedException"

func refuse(code, format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

// invalid is a request that KMS doesn't take, whoever makes it.
func invalid(format string, args ...any) *failure {
	return refuse("ValidationException", format, args...)
}

func internal() *failure {
	return &failure{http.StatusInternalServerError, "KMSInternalException", "The request was rejected because an internal exception occurred."}
}

func noKey(id string) *failure { return refuse("NotFoundException", "Key '%s' does not exist", id) }

// badCiphertext answers a broken ciphertext and a wrong encryption context
// alike.
func badCiphertext() *failure { return refuse("InvalidCiphertextException", "") }
