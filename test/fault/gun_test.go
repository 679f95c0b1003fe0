package fault_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/test/fleet"
)

// gun kills a process the moment that something worth it passes between parent
// and enclave: an envelope, a receipt, a manifest, an audit entry or their
// answers. Random moments seldom hit the short time between the one and the
// other.
type gun struct {
	crash *crash

	mu     sync.Mutex
	random *rand.Rand
	target *shot // nil while nothing is aimed at
}

// shot is one that is aimed and waits for its moment.
type shot struct {
	role  string
	port  uint32
	word  []byte
	delay time.Duration
	fired chan struct{}
}

// newGun puts a wire between parent and enclave, which don't run yet.
func newGun(c *crash) *gun {
	g := &gun{crash: c, random: rand.New(rand.NewPCG(c.random.Uint64(), 4))}
	fleet.NewWire(c.t, g.see).Between(c.fleet)
	return g
}

// see fires when the moment has come.
func (g *gun) see(port uint32, piece []byte) {
	g.mu.Lock()
	s := g.target
	if s == nil || s.port != port || !bytes.Contains(piece, s.word) {
		g.mu.Unlock()
		return
	}
	g.target = nil
	g.mu.Unlock()
	fire := func() {
		g.crash.fleet.Kill(s.role, syscall.SIGKILL)
		close(s.fired)
	}
	if s.delay == 0 {
		fire() // before the piece is carried on
		return
	}
	time.AfterFunc(s.delay, fire)
}

// aimed kills a process in a chosen moment, and says whether that came.
func (g *gun) aimed(role string) bool {
	g.mu.Lock()
	s := &shot{role: role, port: vsock.PortHost, fired: make(chan struct{}), delay: time.Duration(g.random.IntN(4)) * 500 * time.Microsecond}
	switch g.random.IntN(6) {
	case 0: // a random moment will do
		g.mu.Unlock()
		return false
	case 1:
		s.word = []byte("inbox/")
	case 2:
		s.word = []byte("audit/")
	case 3, 4:
		s.word = []byte("manifest/")
	default:
		s.port = vsock.PortIngest // an envelope, a receipt or a question for the phase
	}
	g.target = s
	g.mu.Unlock()
	select {
	case <-s.fired:
		return true
	case <-time.After(500 * time.Millisecond):
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.target == s {
		g.target = nil
		return false
	}
	<-s.fired
	return true
}
