package serve

import (
	"net"
	"sync"
)

// connLimit is a listener that lets only so many of its connections be open; the next waits in the kernel until one
// is closed.
type connLimit struct {
	net.Listener
	open   chan struct{}
	once   sync.Once
	closed chan struct{}
}

func limitConns(l net.Listener, most int) net.Listener {
	return &connLimit{Listener: l, open: make(chan struct{}, most), closed: make(chan struct{})}
}

func (l *connLimit) Accept() (net.Conn, error) {
	select {
	case l.open <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.open
		return nil, err
	}
	return &countedConn{Conn: conn, done: sync.OnceFunc(func() { <-l.open })}, nil
}

func (l *connLimit) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type countedConn struct {
	net.Conn
	done func()
}

// CloseWrite is what net/http looks for to have an error reach a client that is still sending.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.done()
	return err
}
