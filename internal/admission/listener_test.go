package admission_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/cloisterhq/cloister/internal/admission"
)

// TestListen: one connection more than the pool has room for is closed, and a
// place that becomes free is given again.
func TestListen(t *testing.T) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := admission.New(admission.Config{Permits: 2})
	l := admission.Listen(plain, p)
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial()
	dial()
	first, second := <-accepted, <-accepted
	if _, err := dial().Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
		t.Error("one too many was served")
	}
	first.Close()
	first.Close() // gives one place back, not two
	dial()
	third := <-accepted
	if l := p.Load(); l.Inside != 2 || l.Refused != 1 {
		t.Errorf("load %+v", l)
	}
	second.Close()
	third.Close()
	plain.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("ended with %v", err)
	}
	if l := p.Load(); l.Inside != 0 {
		t.Errorf("load %+v", l)
	}
}
