package apiclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

const (
	maxAnswer    = 256 << 10 // bytes of a 2xx body that are read; 600 targets take some 25 kB
	maxErrorBody = 64 << 10  // bytes of any other body that are read
	bufferSize   = 16 << 10  // a whole request and most answers fit
	// Shorter than servers commonly keep a connection, so that a request seldom
	// meets one that is just being closed.
	idleTimeout = 30 * time.Second
)

// wire makes single POSTs and classifies what comes back.
type wire struct {
	dialer    *dialer
	transport *http.Transport
	timeout   time.Duration
	tooSlow   error
	observe   func(endpoint string, status int, d time.Duration)
}

// post is one request. The secret is masked in its error.
type post struct {
	endpoint string // metric label
	url      string
	token    string // "" = no Authorization header
	body     []byte
	secret   string
}

// newWire returns a wire for the server at base.
func newWire(base *url.URL, maxConns int, timeout time.Duration) (*wire, error) {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: base})
	if err != nil { // its text holds the proxy's password
		return nil, errors.New("apiclient: HTTP_PROXY or HTTPS_PROXY is no proxy's URL")
	}
	d := &dialer{net: net.Dialer{Timeout: timeout}}
	return &wire{
		dialer:  d,
		timeout: timeout,
		tooSlow: fmt.Errorf("no answer within %v: %w", timeout, context.DeadlineExceeded),
		observe: func(string, int, time.Duration) {},
		transport: &http.Transport{
			Proxy: http.ProxyURL(proxy),
			// Own dialers also mean HTTP/1.1: with HTTP/2 all calls would share a
			// connection, and its loss would leave all of them unknown.
			DialContext:         d.dial,
			DialTLSContext:      d.dialTLS,
			DisableCompression:  true,
			MaxIdleConns:        maxConns,
			MaxIdleConnsPerHost: maxConns,
			IdleConnTimeout:     idleTimeout,
			WriteBufferSize:     bufferSize,
			ReadBufferSize:      bufferSize,
		},
	}, nil
}

// post makes one attempt, puts the body of the answer into answer, and returns
// the status, 0 if there was none; the error is nil for a 2xx. The transport
// itself repeats a POST only if not a byte of it was written: there is no
// Idempotency-Key header. It is used without an http.Client, which would follow
// redirects, or fail on a bad one and so lose the status.
func (w *wire) post(ctx context.Context, p post, answer *bytes.Buffer) (status int, e *Error) {
	answer.Reset()
	ctx, cancel := context.WithTimeoutCause(ctx, w.timeout, w.tooSlow)
	defer cancel()
	var sent departure
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, sent.trace()), http.MethodPost, p.url, bytes.NewReader(p.body))
	if err != nil {
		return 0, &Error{Kind: KindRejected, Err: err}
	}
	req.Header = http.Header{"Content-Type": jsonType, "Accept": jsonType, "User-Agent": userAgent}
	if p.token != "" {
		req.Header["Authorization"] = []string{"Bearer " + p.token}
	}
	began := time.Now()
	resp, err := w.transport.RoundTrip(req)
	if err != nil {
		w.observe(p.endpoint, 0, time.Since(began))
		return 0, sent.lost(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	status = resp.StatusCode
	limit := int64(maxAnswer)
	if status/100 != 2 {
		limit = maxErrorBody
	}
	_, err = answer.ReadFrom(io.LimitReader(resp.Body, limit+1)) // to its end, so that the connection is used again
	w.observe(p.endpoint, status, time.Since(began))
	if e := classify(status, resp.Header, answer.Bytes(), time.Now()); e != nil {
		e.clean(p.secret)
		return status, e
	}
	if err == nil && int64(answer.Len()) > limit {
		err = fmt.Errorf("over %d bytes", limit)
	}
	if err != nil {
		return status, &Error{Kind: KindUnknown, Status: status, Err: fmt.Errorf("reading the answer: %w", ended(ctx, err))}
	}
	return status, nil
}

// Shared by all requests and never written to.
var (
	jsonType  = []string{"application/json"}
	userAgent = []string{"crier"}
)

// departure notes whether any byte of a request may have left this process.
type departure struct {
	conn   *countingConn
	before int64 // bytes that conn had written before the request
	blind  bool  // a connection that does not count: take it as written
}

func (d *departure) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			conn := info.Conn
			if over, ok := conn.(*tls.Conn); ok { // through a proxy, TLS is the transport's own
				conn = over.NetConn()
			}
			var counts bool
			if d.conn, counts = conn.(*countingConn); !counts {
				d.blind = true
				return
			}
			d.before = d.conn.written.Load()
		},
	}
}

// lost classifies a request that got no answer. The transport has ended its
// writing before it reports the error, so the count is final.
func (d *departure) lost(ctx context.Context, err error) *Error {
	err = ended(ctx, err)
	if d.blind || d.conn != nil && d.conn.written.Load() > d.before {
		return &Error{Kind: KindUnknown, Err: err}
	}
	return &Error{Kind: KindUnavailable, Err: err}
}

// ended returns err with the context's own error in it, if that has ended.
func ended(ctx context.Context, err error) error {
	if end := ctx.Err(); end != nil && !errors.Is(err, end) {
		return fmt.Errorf("%w: %w", end, err)
	}
	return err
}

// dialer makes connections that count what is written to them. TLS happens
// inside of them, so that its own records do not count as parts of a request.
type dialer struct {
	net net.Dialer
	tls *tls.Config
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return counting(d.net.DialContext(ctx, network, address))
}

func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	over := tls.Dialer{NetDialer: &d.net, Config: d.tls}
	return counting(over.DialContext(ctx, network, address))
}

func counting(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return &countingConn{Conn: conn}, nil
}

type countingConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}
