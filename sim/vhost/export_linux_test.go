package vhost

// ServeConn serves one connection.
var ServeConn = serve

const (
	// ImageGuest and ImageUser are where an image is.
	ImageGuest = 0x4000_0000
	ImageUser  = 0x7f00_0000_0000
)

// OpenImage makes a queue whose parts are at offsets of an image of memory. It
// has nobody to interrupt.
func OpenImage(image []byte, table, avail, used uint64, size, base uint16) (*Queue, error) {
	m := &memory{regions: []region{{guest: ImageGuest, user: ImageUser, size: uint64(len(image)), bytes: image}}}
	q := newQueue()
	q.setup.size, q.setup.base = size, base
	q.setup.at = &addresses{ImageUser + table, ImageUser + avail, ImageUser + used}
	return q, q.begin(m)
}
