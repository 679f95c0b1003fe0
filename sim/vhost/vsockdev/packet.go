package vsockdev

import "encoding/binary"

// headerSize is the size of struct virtio_vsock_hdr (Virtual I/O Device 1.2,
// section 5.10.6), in bytes.
const headerSize = 44

// Operations and their flags.
const (
	opRequest       = 1
	opResponse      = 2
	opReset         = 3
	opShutdown      = 4
	opData          = 5
	opCreditUpdate  = 6
	opCreditRequest = 7

	typeStream = 1

	// shutReceive: the sender of a shutdown takes no more data.
	shutReceive = 1
	// shutSend: the sender of a shutdown sends no more data.
	shutSend = 2
)

// header begins every packet.
type header struct {
	source, destination         uint64
	sourcePort, destinationPort uint32
	length                      uint32
	kind, op                    uint16
	flags                       uint32
	allocated, forwarded        uint32
}

func parse(b *[headerSize]byte) header {
	le := binary.LittleEndian
	return header{
		source: le.Uint64(b[0:]), destination: le.Uint64(b[8:]),
		sourcePort: le.Uint32(b[16:]), destinationPort: le.Uint32(b[20:]),
		length: le.Uint32(b[24:]), kind: le.Uint16(b[28:]), op: le.Uint16(b[30:]),
		flags: le.Uint32(b[32:]), allocated: le.Uint32(b[36:]), forwarded: le.Uint32(b[40:]),
	}
}

func (h *header) encode(b *[headerSize]byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.source)
	le.PutUint64(b[8:], h.destination)
	le.PutUint32(b[16:], h.sourcePort)
	le.PutUint32(b[20:], h.destinationPort)
	le.PutUint32(b[24:], h.length)
	le.PutUint16(b[28:], h.kind)
	le.PutUint16(b[30:], h.op)
	le.PutUint32(b[32:], h.flags)
	le.PutUint32(b[36:], h.allocated)
	le.PutUint32(b[40:], h.forwarded)
}

// sound says whether the operation exists and may have that much payload.
func (h *header) sound(payload int) bool {
	if h.op < opRequest || h.op > opCreditRequest || int64(h.length) != int64(payload) {
		return false
	}
	return h.op == opData || payload == 0
}
