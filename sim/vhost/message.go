package vhost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Requests of the front end, by their numbers in the protocol.
const (
	getFeatures         = 1
	setFeatures         = 2
	setOwner            = 3
	resetOwner          = 4
	setMemTable         = 5
	setVringNum         = 8
	setVringAddr        = 9
	setVringBase        = 10
	getVringBase        = 11
	setVringKick        = 12
	setVringCall        = 13
	setVringErr         = 14
	getProtocolFeatures = 15
	setProtocolFeatures = 16
	getQueueNum         = 17
	setVringEnable      = 18
	getConfig           = 24
	setConfig           = 25
)

const (
	headerSize = 12
	// maxPayload is more than any request that is known here: a configuration
	// of 256 bytes behind 12, or a table of eight regions.
	maxPayload = 512
	// maxFiles is the most that travel with one request, one for each region
	// (VHOST_MEMORY_BASELINE_NREGIONS).
	maxFiles = 8

	version     = 1
	versionMask = 3
	flagReply   = 1 << 2
	flagAsk     = 1 << 3
)

// errHungUp is the end of a connection between two messages.
var errHungUp = errors.New("the front end hung up")

// message is one request and the files that came with it. It owns those until
// they are taken.
type message struct {
	request, flags uint32
	payload        []byte
	files          []int
}

// close closes the files that nobody took.
func (m *message) close() {
	closeAll(m.files)
	m.files = nil
}

func closeAll(files []int) {
	for _, fd := range files {
		unix.Close(fd)
	}
}

// needsReply says whether the front end waits for an acknowledgement.
func (m *message) needsReply() bool { return m.flags&flagAsk != 0 }

// reply frames an answer.
func (m *message) reply(payload []byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, headerSize+len(payload)), m.request)
	b = binary.LittleEndian.AppendUint32(b, version|flagReply)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// receive reads one message. The files travel with its first byte.
func receive(conn *net.UnixConn) (*message, error) {
	m := &message{}
	var header [headerSize]byte
	for got := 0; got < headerSize; {
		n, err := m.read(conn, header[got:])
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err != nil {
			m.close()
			if got == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
				return nil, errHungUp
			}
			return nil, fmt.Errorf("header: %w", err)
		}
		got += n
	}
	size, err := m.parse(header)
	if err == nil {
		m.payload = make([]byte, size)
		_, err = io.ReadFull(conn, m.payload)
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// read reads some bytes and takes the files that come with them.
func (m *message) read(conn *net.UnixConn, b []byte) (int, error) {
	control := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, cn, flags, _, err := conn.ReadMsgUnix(b, control)
	if err != nil {
		return n, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil {
		return n, err
	}
	for _, c := range messages {
		files, err := unix.ParseUnixRights(&c)
		if err != nil {
			continue // other control messages carry no files
		}
		for _, fd := range files {
			unix.CloseOnExec(fd)
		}
		m.files = append(m.files, files...)
	}
	if flags&unix.MSG_CTRUNC != 0 || len(m.files) > maxFiles {
		return n, fmt.Errorf("%w: more than %d files", ErrFrontEnd, maxFiles)
	}
	return n, nil
}

// parse reads a header and answers the size of the payload.
func (m *message) parse(header [headerSize]byte) (int, error) {
	m.request = binary.LittleEndian.Uint32(header[0:])
	m.flags = binary.LittleEndian.Uint32(header[4:])
	size := binary.LittleEndian.Uint32(header[8:])
	switch {
	case m.flags&versionMask != version || m.flags&flagReply != 0:
		return 0, fmt.Errorf("%w: flags %#x", ErrFrontEnd, m.flags)
	case size > maxPayload:
		return 0, fmt.Errorf("%w: payload of %d bytes", ErrFrontEnd, size)
	}
	return int(size), nil
}

// want checks the payload's size.
func (m *message) want(size int) error {
	if len(m.payload) != size {
		return fmt.Errorf("%w: request %d with %d bytes, want %d", ErrFrontEnd, m.request, len(m.payload), size)
	}
	return nil
}

// number reads a payload of one 64-bit number.
func (m *message) number() (uint64, error) {
	if err := m.want(8); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(m.payload), nil
}

// pair reads a payload of a queue's index and a number, 32 bits each.
func (m *message) pair() (index, value uint32, err error) {
	if err := m.want(8); err != nil {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint32(m.payload), binary.LittleEndian.Uint32(m.payload[4:]), nil
}

// file reads a payload of a queue's index and takes its file, -1 when the
// front end says that there is none.
func (m *message) file() (index uint32, fd int, err error) {
	const indexMask, none = 0xff, 1 << 8
	v, err := m.number()
	if err != nil {
		return 0, -1, err
	}
	want := 1
	if v&none != 0 {
		want = 0
	}
	if v&^(indexMask|none) != 0 || len(m.files) != want {
		return 0, -1, fmt.Errorf("%w: request %d with %d files", ErrFrontEnd, m.request, len(m.files))
	}
	if want == 0 {
		return uint32(v & indexMask), -1, nil
	}
	fd = m.files[0]
	m.files = nil
	return uint32(v & indexMask), fd, nil
}

// regions reads a memory table. There is a file for each region, in order.
func (m *message) regions() ([]region, error) {
	const head, each = 8, 32
	if len(m.payload) < head {
		return nil, m.want(head)
	}
	count := int(binary.LittleEndian.Uint32(m.payload))
	if count < 1 || count > maxFiles || len(m.files) != count {
		return nil, fmt.Errorf("%w: %d regions with %d files", ErrFrontEnd, count, len(m.files))
	}
	if err := m.want(head + count*each); err != nil {
		return nil, err
	}
	all := make([]region, count)
	for i := range all {
		b := m.payload[head+i*each:]
		all[i] = region{
			guest: binary.LittleEndian.Uint64(b), size: binary.LittleEndian.Uint64(b[8:]),
			user: binary.LittleEndian.Uint64(b[16:]), offset: binary.LittleEndian.Uint64(b[24:]),
		}
	}
	return all, nil
}

// status is the acknowledgement of a request: zero for a success.
func status(err error) []byte {
	if err != nil {
		return word(1)
	}
	return word(0)
}

func word(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
