package admission

import "net"

// Listen answers a listener that closes each connection for which the pool has
// no room at once, so that its sender knows. A connection's place is free again
// when it is closed.
func Listen(l net.Listener, p *Pool) net.Listener { return &listener{l, p} }

type listener struct {
	net.Listener
	pool *Pool
}

// Accept answers the next connection that there is room for.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if permit, err := l.pool.Try("", 0); err == nil {
			return &conn{c, permit}, nil
		}
		c.Close()
	}
}

// conn is a connection that gives its place back when it is closed.
type conn struct {
	net.Conn
	permit *Permit
}

// Close ends the connection.
func (c *conn) Close() error {
	defer c.permit.Release()
	return c.Conn.Close()
}
