package relay

import (
	"context"
	"errors"
	"io"
	"net"
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
// and leaves the other one open. Both connections are closed when it returns,
// and deadlines that they had don't count. moved may be nil.
func (c *Copier) Join(ctx context.Context, a, b net.Conn, moved Moved) {
	if moved == nil {
		moved = func(bool, int) {}
	}
	closeBoth := func() { a.Close(); b.Close() }
	defer closeBoth()
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	if a.SetDeadline(time.Time{}) != nil || b.SetDeadline(time.Time{}) != nil {
		return // closed already
	}
	j := newJoint(c.idle, closeBoth)
	defer j.stop()
	var other sync.WaitGroup
	other.Go(func() { c.oneWay(j, &j.writing[0], a, b, func(n int) { moved(false, n) }) })
	c.oneWay(j, &j.writing[1], b, a, func(n int) { moved(true, n) })
	other.Wait()
}

// joint is what both directions of a joined pair share. One timer watches the
// pair: deadlines on every read and write would cost as much as carrying a
// small piece.
type joint struct {
	idle  time.Duration
	begun time.Time
	end   func()
	// last is when a byte last came in, and writing since when each direction
	// waits for its other end to take one, 0 when it doesn't: nanoseconds from
	// begun.
	last    atomic.Int64
	writing [2]atomic.Int64

	mu    sync.Mutex
	timer *time.Timer // guarded by mu, as over
	over  bool
}

// newJoint begins to watch a pair, and ends it when it is silent.
func newJoint(idle time.Duration, end func()) *joint {
	j := &joint{idle: idle, begun: time.Now(), end: end}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.timer = time.AfterFunc(idle, j.watch)
	return j
}

// watch ends the pair, or comes again when it could be silent next.
func (j *joint) watch() {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch left := j.left(); {
	case j.over:
	case left <= 0:
		j.end()
	default:
		j.timer.Reset(left)
	}
}

// left is how long the pair may still stay as it is. A side that takes nothing
// is as dead as a silent one, whatever it sends.
func (j *joint) left() time.Duration {
	since := j.last.Load()
	for i := range j.writing {
		if begun := j.writing[i].Load(); begun != 0 {
			since = min(since, begun)
		}
	}
	return j.idle - (time.Since(j.begun) - time.Duration(since))
}

// stop ends the watch.
func (j *joint) stop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.over = true
	j.timer.Stop()
}

// oneWay carries one direction and passes its end on.
func (c *Copier) oneWay(j *joint, writing *atomic.Int64, to, from net.Conn, moved func(n int)) {
	buffer := c.buffers.Get().(*[bufferSize]byte)
	defer c.buffers.Put(buffer)
	if err := j.copyAll(writing, to, from, buffer[:], moved); err != nil || closeWrite(to) != nil {
		j.end()
	}
}

// copyAll copies until from ends. io.Copy isn't used: vsock connections know
// no splice, and it would allocate a buffer for each of them.
func (j *joint) copyAll(writing *atomic.Int64, to, from net.Conn, buffer []byte, moved func(n int)) error {
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			now := int64(time.Since(j.begun)) + 1 // never 0
			j.last.Store(now)
			writing.Store(now)
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
			writing.Store(0)
			moved(n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
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
