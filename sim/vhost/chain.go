package vhost

import "fmt"

// Chain is a chain of guest buffers: first those that the device reads, then
// those that it writes. It is consumed from its front. What it holds is the
// guest's memory, which changes at any time: bytes are taken once and checked
// afterwards. The zero Chain is ready for [Queue.Pop], and may be used again.
type Chain struct {
	head               uint16
	readable, writable [][]byte
	unread, free       int
	written            int
}

// Readable answers how many bytes are left to read.
func (c *Chain) Readable() int { return c.unread }

// Writable answers how many bytes can still be written.
func (c *Chain) Writable() int { return c.free }

// Take copies bytes of the readable part and answers how many: fewer than
// len(p) only at its end.
func (c *Chain) Take(p []byte) int {
	n := 0
	for n < len(p) && len(c.readable) > 0 {
		k := copy(p[n:], c.readable[0])
		n += k
		if c.readable[0] = c.readable[0][k:]; len(c.readable[0]) == 0 {
			c.readable = c.readable[1:]
		}
	}
	c.unread -= n
	return n
}

// Put copies bytes into the writable part and answers how many: fewer than
// len(p) only at its end.
func (c *Chain) Put(p []byte) int {
	n := 0
	for n < len(p) && len(c.writable) > 0 {
		k := copy(c.writable[0], p[n:])
		n += k
		if c.writable[0] = c.writable[0][k:]; len(c.writable[0]) == 0 {
			c.writable = c.writable[1:]
		}
	}
	c.free -= n
	c.written += n
	return n
}

func (c *Chain) reset(head uint16) {
	*c = Chain{head: head, readable: c.readable[:0], writable: c.writable[:0]}
}

// add appends a buffer. None that the device reads comes behind one that it
// writes (Virtual I/O Device 1.2, section 2.7.4.2).
func (c *Chain) add(buffer []byte, writable bool) error {
	switch {
	case writable:
		c.writable = append(c.writable, buffer)
		c.free += len(buffer)
	case c.free > 0:
		return fmt.Errorf("%w: readable buffer behind a writable one", ErrDriver)
	default:
		c.readable = append(c.readable, buffer)
		c.unread += len(buffer)
	}
	return nil
}
