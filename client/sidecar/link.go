package sidecar

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// host stands for the enclave in requests. No name is ever judged.
	host = "enclave"
	// maxAge is how long a connection takes new calls. The next one has fresh
	// evidence.
	maxAge = 10 * time.Minute
	// maxIdle is how long a connection may rest before it counts as lost: a
	// machine that slept doesn't learn that the other end went away.
	maxIdle = 2 * time.Minute
)

// link keeps one verified connection and makes another when it is lost, old or
// idle. It is an http.RoundTripper.
type link struct {
	transport *http.Transport
	// turn is held by whoever looks for a connection or makes one.
	turn chan struct{}

	conn       *http.ClientConn // the fields from here on are guarded by turn
	born, used time.Time        // of conn, on the wall clock
	err        error            // of the last attempt, nil when it went well
	tried      time.Time        // when that attempt ended
}

func newLink(e Enclave, o Options) *link {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &link{
		turn: make(chan struct{}, 1),
		transport: &http.Transport{
			// HTTP/2 begins right behind the exchange of attested TLS; for
			// net/http that is a connection like any other.
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conn, peer, err := e.Dial(ctx)
				if err != nil {
					if o.OnError != nil && ctx.Err() == nil {
						o.OnError(err)
					}
					return nil, &dialError{err}
				}
				if o.OnPeer != nil {
					o.OnPeer(peer)
				}
				return conn, nil
			},
			Protocols:          &protocols,
			DisableCompression: true,
		},
	}
}

// dialError marks that a call didn't leave this machine.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// RoundTrip sends one call. A call that a lost connection took nothing of is
// sent again on another one, once.
func (l *link) RoundTrip(r *http.Request) (*http.Response, error) {
	for first := true; ; first = false {
		conn, err := l.connection(r.Context())
		if err != nil {
			return nil, err
		}
		again := r.Clone(r.Context())
		body := &untouched{ReadCloser: r.Body}
		if r.Body != nil {
			again.Body = body
		}
		resp, err := conn.RoundTrip(again)
		if err == nil || !first || r.Context().Err() != nil || conn.Err() == nil || !body.withdraw() {
			return resp, err
		}
	}
}

// connection answers a usable connection, and makes one when there is none.
// Those who wait while one is made share what becomes of it.
func (l *link) connection(ctx context.Context) (*http.ClientConn, error) {
	arrived := time.Now()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := time.Now().Round(0)
	if l.conn != nil && l.conn.Err() == nil && now.Sub(l.born) < maxAge && now.Sub(l.used) < maxIdle {
		l.used = now
		return l.conn, nil
	}
	if l.err != nil && !l.tried.Before(arrived) {
		return nil, l.err
	}
	conn, err := l.transport.NewClientConn(ctx, "http", net.JoinHostPort(host, "80"))
	if err == nil {
		retire(l.conn)
		now = time.Now().Round(0)
		l.conn, l.born, l.used, l.err = conn, now, now, nil
		return conn, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	l.err, l.tried = err, time.Now()
	return nil, err
}

// retire closes a connection when its last call has ended.
func retire(conn *http.ClientConn) {
	if conn == nil {
		return
	}
	if conn.InFlight() == 0 {
		conn.Close()
		return
	}
	conn.SetStateHook(func(conn *http.ClientConn) {
		if conn.InFlight() == 0 {
			conn.Close()
		}
	})
}

func (l *link) close() {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.conn != nil {
		l.conn.Close()
	}
	l.transport.CloseIdleConnections()
}

// errWithdrawn ends a body that is sent elsewhere.
var errWithdrawn = errors.New("sidecar: the call is sent again")

// untouched is a body that can be withdrawn until somebody reads from it.
type untouched struct {
	io.ReadCloser

	mu               sync.Mutex
	began, withdrawn bool // guarded by mu
}

// Read reads, unless the body was withdrawn.
func (u *untouched) Read(p []byte) (int, error) {
	u.mu.Lock()
	gone := u.withdrawn
	u.began = true
	u.mu.Unlock()
	if gone {
		return 0, errWithdrawn
	}
	return u.ReadCloser.Read(p)
}

// Close leaves the body open, which its request owns.
func (u *untouched) Close() error { return nil }

// withdraw says whether nothing was read, and makes sure that nothing will be.
func (u *untouched) withdraw() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.withdrawn = true
	return !u.began
}
