package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// bufferSize is 64 KiB: bulk throughput grows by 1.7 from 8 KiB to 64 KiB and
// not beyond, and connections per second fall when each makes its own buffers,
// which is why they are pooled.
const bufferSize = 64 << 10

// Copier joins connections with buffers that it keeps.
type Copier struct {
	idle    time.Duration
	buffers sync.Pool
}

// NewCopier makes a copier that ends joined connections on which neither side
// has sent anything for idle.
func NewCopier(idle time.Duration) *Copier {
	return &Copier{idle: idle, buffers: sync.Pool{New: func() any { return new([bufferSize]byte) }}}
}

// Moved learns how many bytes were carried, and whether they came from the first
// of the joined connections. It is called for every piece, in no order between
// the directions.
type Moved func(fromFirst bool, n int)

// Join carries bytes both ways until both sides have finished sending, one of
// them fails, nobody sends, or ctx ends. The end of one direction is passed on
// and leaves the other one open. Both connections are closed when it returns.
// moved may be nil.
func (c *Copier) Join(ctx context.Context, a, b net.Conn, moved Moved) {
	if moved == nil {
		moved = func(bool, int) {}
	}
	closeBoth := func() { a.Close(); b.Close() }
	defer closeBoth()
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	j := &joint{idle: c.idle, begun: time.Now()}
	var other sync.WaitGroup
	other.Go(func() { c.oneWay(j, a, b, closeBoth, func(n int) { moved(false, n) }) })
	c.oneWay(j, b, a, closeBoth, func(n int) { moved(true, n) })
	other.Wait()
}

// joint is what both directions of a joined pair share.
type joint struct {
	idle  time.Duration
	begun time.Time
	last  atomic.Int64 // when a byte last came in, nanoseconds from begun
}

// touch notes that a byte came in, and answers when.
func (j *joint) touch() time.Duration {
	now := time.Since(j.begun)
	j.last.Store(int64(now))
	return now
}

// left is how long the pair may still stay silent.
func (j *joint) left() time.Duration {
	return j.idle - (time.Since(j.begun) - time.Duration(j.last.Load()))
}

// oneWay carries one direction and passes its end on.
func (c *Copier) oneWay(j *joint, to, from net.Conn, abort func(), moved func(n int)) {
	buffer := c.buffers.Get().(*[bufferSize]byte)
	defer c.buffers.Put(buffer)
	if err := copyAll(j, to, from, buffer[:], moved); err != nil || closeWrite(to) != nil {
		abort()
	}
}

// copyAll copies until from ends, or for as long as the pair isn't silent. A
// read's deadline stays while bytes come, and is looked at anew when it is
// over: setting one for every piece costs as much as carrying a small one.
func copyAll(j *joint, to, from net.Conn, buffer []byte, moved func(n int)) error {
	for out := (outlet{joint: j, conn: to}); ; {
		left := j.left()
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		if err := from.SetReadDeadline(time.Now().Add(left)); err != nil {
			return err
		}
		err := out.carry(from, buffer, moved)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errSilent):
			// The other direction may have been busy meanwhile, or this one.
		default:
			return err
		}
	}
}

// errSilent says that a read's deadline is over.
var errSilent = errors.New("relay: nothing came")

// outlet is where one direction goes.
type outlet struct {
	joint *joint
	conn  net.Conn
	by    time.Duration // the deadline of writing, from the joint's beginning
}

// carry copies until a read fails, and never answers nil. io.Copy isn't used:
// vsock connections know no splice, and it would allocate a buffer for each.
func (o *outlet) carry(from net.Conn, buffer []byte, moved func(n int)) error {
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if err := o.extend(o.joint.touch()); err != nil {
				return err
			}
			if _, err := o.conn.Write(buffer[:n]); err != nil {
				return err
			}
			moved(n)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errSilent
		}
		if err != nil {
			return err
		}
	}
}

// extend gives a write from now on the idle time, and up to an eighth more, so
// that not every write sets a deadline. A side that takes nothing for as long
// is as dead as a silent one.
func (o *outlet) extend(now time.Duration) error {
	if o.by-now >= o.joint.idle {
		return nil
	}
	o.by = now + o.joint.idle + o.joint.idle/8
	return o.conn.SetWriteDeadline(o.joint.begun.Add(o.by))
}

// closeWrite passes the end of a direction on. A connection that can't be
// closed by halves is closed.
func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return conn.Close()
	}
	err := half.CloseWrite()
	if errors.Is(err, syscall.ENOTCONN) || errors.Is(err, net.ErrClosed) {
		return nil // the other side has gone entirely; reading from it will tell
	}
	return err
}

// passing says whether an accept error is one of the moment.
func passing(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
