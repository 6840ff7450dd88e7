package apiclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// Shorter than servers commonly keep a connection, so that a request seldom
// meets one that is just being closed.
const idleTimeout = 30 * time.Second

// conns are the connections to one server: those that are kept idle to be used
// again, the newest first, and how to make more.
type conns struct {
	base  *url.URL
	proxy *url.URL // nil = none
	most  int      // idle ones
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	tls   *tls.Config

	mu     sync.Mutex
	idle   []*conn // the oldest first
	sweep  *time.Timer
	closed bool
}

// conn is one connection, over which one call goes at a time.
type conn struct {
	net.Conn          // with TLS, if any
	raw      net.Conn // below TLS
	left     io.LimitedReader
	in       *bufio.Reader
	out      []byte // for requests, used again
	used     bool   // by an earlier call
	since    time.Time
}

func newConns(base, proxy *url.URL, most int) (*conns, error) {
	if proxy != nil && proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, errors.New("apiclient: HTTP_PROXY or HTTPS_PROXY: only http and https proxies are supported")
	}
	return &conns{base: base, proxy: proxy, most: most, dial: new(net.Dialer).DialContext, tls: &tls.Config{}}, nil
}

// take returns a connection for one call, whose reads and writes end at the
// deadline.
func (s *conns) take(ctx context.Context, deadline time.Time) (*conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for {
		c := s.pop()
		if c == nil {
			break
		}
		if c.SetDeadline(deadline) == nil && time.Since(c.since) < idleTimeout && silent(c.raw) {
			c.used = true
			return c, nil
		}
		c.close()
	}
	c, err := s.connect(ctx, deadline)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(deadline); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (s *conns) pop() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.idle) - 1
	if last < 0 {
		return nil
	}
	c := s.idle[last]
	s.idle = s.idle[:last]
	return c
}

// put keeps a connection for another call.
func (s *conns) put(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle) >= s.most {
		c.close()
		return
	}
	c.since = time.Now()
	s.idle = append(s.idle, c)
	if s.sweep == nil {
		s.sweep = time.AfterFunc(idleTimeout, s.closeOld)
	}
}

// closeOld closes what has been idle for too long.
func (s *conns) closeOld() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.idle) > 0 && time.Since(s.idle[0].since) >= idleTimeout {
		s.idle[0].close()
		s.idle = s.idle[1:]
	}
	if s.sweep = nil; len(s.idle) > 0 && !s.closed {
		s.sweep = time.AfterFunc(time.Until(s.idle[0].since.Add(idleTimeout)), s.closeOld)
	}
}

// close closes idle connections; those in use are closed after it.
func (s *conns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range s.idle {
		c.close()
	}
	s.idle = nil
	if s.sweep != nil {
		s.sweep.Stop()
	}
}

// connect makes a new connection to the server, through the proxy if there is one.
func (s *conns) connect(ctx context.Context, deadline time.Time) (*conn, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	first := s.base // whom to connect to first
	if s.proxy != nil {
		first = s.proxy
	}
	raw, err := s.dial(ctx, "tcp", address(first))
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw}
	stop := context.AfterFunc(ctx, c.interrupt) // what follows knows no context
	defer stop()
	c.Conn, err = s.secure(ctx, first, raw)
	if err == nil && s.proxy != nil && s.base.Scheme == "https" {
		if err = s.tunnel(c.Conn); err == nil {
			c.Conn, err = s.secure(ctx, s.base, c.Conn)
		}
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	c.left.R = c.Conn
	c.in = bufio.NewReaderSize(&c.left, bufferSize)
	c.out = make([]byte, 0, bufferSize/2)
	return c, nil
}

// secure puts TLS over a connection to a server with such a URL, if it says so.
func (s *conns) secure(ctx context.Context, to *url.URL, c net.Conn) (net.Conn, error) {
	if to.Scheme != "https" {
		return c, nil
	}
	config := s.tls.Clone()
	if config.ServerName == "" {
		config.ServerName = to.Hostname()
	}
	over := tls.Client(c, config)
	return over, over.HandshakeContext(ctx)
}

// tunnel asks the proxy for a way through to the server.
func (s *conns) tunnel(c net.Conn) error {
	to := address(s.base)
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", to, to, proxyAuthorization(s.proxy)); err != nil {
		return err
	}
	// Nothing follows the head before we speak, so no byte is read too much.
	request := &http.Request{Method: http.MethodConnect}
	response, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, maxHead)), request) //nolint:bodyclose // there is none
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy answers %s", response.Status)
	}
	return nil
}

// forwarding reports whether a proxy reads the requests themselves.
func (s *conns) forwarding() bool { return s.proxy != nil && s.base.Scheme == "http" }

// authorization is the header that requests carry for such a proxy.
func (s *conns) authorization() string {
	if !s.forwarding() {
		return ""
	}
	return proxyAuthorization(s.proxy)
}

func proxyAuthorization(proxy *url.URL) string {
	if proxy.User == nil {
		return ""
	}
	password, _ := proxy.User.Password()
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)) + "\r\n"
}

// address is host:port of a URL.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = u.Scheme // dialers know these names
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// interrupt ends reads and writes that are under way, and all that follow.
func (c *conn) interrupt() { _ = c.raw.SetDeadline(time.Unix(1, 0)) }

func (c *conn) close() { _ = c.raw.Close() } // nothing is owed to it that a failure could lose

// silent reports whether an idle connection is neither closed by the server
// nor holds bytes that nobody has asked for.
func silent(raw net.Conn) bool {
	over, ok := raw.(syscall.Conn)
	if !ok {
		return true
	}
	socket, err := over.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = socket.Read(func(fd uintptr) bool {
		quiet = nothingToRead(fd)
		return true
	})
	return err == nil && quiet
}
