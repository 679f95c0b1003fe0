package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/cloisterhq/cloister/internal/vsock"
)

const (
	// piece is what bulk transfers write at once, in bytes.
	piece = 64 << 10
	// message is a request and its answer, in bytes.
	message = 1 << 10
)

// A connection begins with one of these, and bulk with its length behind it.
const (
	echoing = 'e'
	bulk    = 'b'
)

// sink is the enclave's side: it swallows or sends back.
type sink struct{ listener net.Listener }

func openSink(dir string) (*sink, error) {
	l, err := vsock.Unix(dir, vsock.EnclaveCID).Listen(vsock.PortAttested)
	if err != nil {
		return nil, err
	}
	s := &sink{l}
	go s.serve()
	return s, nil
}

func (s *sink) close() { s.listener.Close() }

func (s *sink) serve() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = take(c) // its other end notices
		}()
	}
}

// take serves one connection.
func take(c net.Conn) error {
	var kind [1]byte
	if _, err := io.ReadFull(c, kind[:]); err != nil {
		return err
	}
	switch kind[0] {
	case echoing:
		return echo(c)
	case bulk:
		return swallow(c)
	}
	return errors.New("an unknown kind of connection")
}

func echo(c net.Conn) error {
	buffer := make([]byte, message)
	for {
		n, err := c.Read(buffer)
		if err != nil {
			return err
		}
		if _, err := c.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

// swallow answers a byte once everything has come.
func swallow(c net.Conn) error {
	var length [8]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return err
	}
	buffer := make([]byte, piece)
	for left := binary.BigEndian.Uint64(length[:]); left > 0; {
		n, err := c.Read(buffer[:min(left, piece)])
		if err != nil {
			return err
		}
		left -= uint64(n)
	}
	_, err := c.Write([]byte{bulk})
	return err
}

// send is the other end of swallow.
func send(c net.Conn, length int64) error {
	head := binary.BigEndian.AppendUint64([]byte{bulk}, uint64(length))
	if _, err := c.Write(head); err != nil {
		return err
	}
	buffer := make([]byte, piece)
	for left := length; left > 0; {
		n, err := c.Write(buffer[:min(left, piece)])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	_, err := io.ReadFull(c, head[:1])
	return err
}

// begin makes a connection an echoing one, which a first byte proves.
func begin(c net.Conn) error {
	b := []byte{echoing, 42}
	if _, err := c.Write(b); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return err
	}
	if b[0] != 42 {
		return fmt.Errorf("%d came back", b[0])
	}
	return nil
}

// trip sends a message and waits for it to come back.
func trip(c net.Conn, b []byte) error {
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(c, b)
	return err
}
