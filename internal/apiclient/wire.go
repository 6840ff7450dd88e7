package apiclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	maxAnswer    = 256 << 10 // bytes of a 2xx body that are read, or
	perByte      = 16        // so many for each byte of the request: names come back with what became of them
	maxErrorBody = 64 << 10  // bytes of any other body that are read
	maxHead      = 64 << 10  // bytes of a response beside its body and what chunks add to that
	bufferSize   = 16 << 10  // a whole request and most answers fit
)

// wire makes single POSTs and classifies what comes back. It speaks HTTP/1.1
// over connections of its own, on which one call at a time is written and read
// by the goroutine that makes it: with the transport of net/http a call costs
// twice the CPU time, and whether a byte of it was written takes guessing. With
// HTTP/2 all calls would share a connection, whose loss would leave the outcome
// of all of them unknown.
type wire struct {
	conns   *conns
	origin  string // scheme://host, with which all URLs begin
	head    string // of every request, behind its first line
	timeout time.Duration
	tooSlow error
	observe func(endpoint string, status int, d time.Duration)
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
	c, err := newConns(base, proxy, maxConns)
	if err != nil {
		return nil, err
	}
	return &wire{
		conns:  c,
		origin: base.Scheme + "://" + base.Host,
		head: "Host: " + base.Host + "\r\nUser-Agent: crier\r\n" +
			"Content-Type: application/json\r\nAccept: application/json\r\n" + c.authorization(),
		timeout: timeout,
		tooSlow: fmt.Errorf("no answer within %v: %w", timeout, context.DeadlineExceeded),
		observe: func(string, int, time.Duration) {},
	}, nil
}

// close closes the connections that are idle, and others once they are.
func (w *wire) close() { w.conns.close() }

// post makes one attempt, puts the body of the answer into answer, and returns
// the status, 0 if there was none; the error is nil for a 2xx. It follows no
// redirect, and sends nothing twice of which a byte may have left this process.
func (w *wire) post(ctx context.Context, p post, answer *bytes.Buffer) (status int, e *Error) {
	began := time.Now()
	deadline := began.Add(w.timeout)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	answer.Reset()
	response, sent, err := w.exchange(ctx, deadline, p, answer) //nolint:bodyclose // exchange has read it, or closed the connection
	if response != nil {
		status = response.StatusCode
	}
	w.observe(p.endpoint, status, time.Since(began))
	switch {
	case !sent:
		return 0, &Error{Kind: KindUnavailable, Err: w.ended(ctx, err)}
	case response == nil:
		return 0, &Error{Kind: KindUnknown, Err: w.ended(ctx, err)}
	}
	if e := classify(status, response.Header, answer.Bytes(), time.Now()); e != nil {
		e.clean(p.secret)
		if err != nil && !errors.Is(err, errTooLong) && e.final() { // a part of the reason is missing: it may have said something else
			e.Kind, e.Err = KindUnavailable, fmt.Errorf("reading the answer: %w", w.ended(ctx, err))
		}
		return status, e
	}
	if err != nil {
		return status, &Error{Kind: KindUnknown, Status: status, Err: fmt.Errorf("reading the answer: %w", w.ended(ctx, err))}
	}
	return status, nil
}

// exchange writes the request and reads the response. Sent says whether any
// byte of the request may have left this process; the response is nil where its
// head was not read, and an error beside it is about its body.
func (w *wire) exchange(ctx context.Context, deadline time.Time, p post, answer *bytes.Buffer) (response *http.Response, sent bool, err error) {
	for {
		c, err := w.conns.take(ctx, deadline)
		if err != nil {
			return nil, false, err
		}
		stop := context.AfterFunc(ctx, c.interrupt)
		n, err := c.Write(w.request(c.out[:0], p))
		switch {
		case err == nil:
			var whole bool
			response, whole, err = c.read(answer, perByte*len(p.body))
			if stop() && whole {
				w.conns.put(c)
				return response, true, nil
			}
		case n > 0:
			response = c.refusal(answer)
		}
		stop()
		c.close()
		if n > 0 || err == nil || !c.used || ctx.Err() != nil || !time.Now().Before(deadline) {
			return response, n > 0, err
		}
		// A connection kept from former calls was dead before a byte was written.
	}
}

// request appends a request to dst.
func (w *wire) request(dst []byte, p post) []byte {
	target := strings.TrimPrefix(p.url, w.origin)
	if w.conns.forwarding() {
		target = p.url
	}
	dst = append(append(append(dst, "POST "...), target...), " HTTP/1.1\r\n"...)
	dst = append(dst, w.head...)
	if p.token != "" {
		dst = append(append(append(dst, "Authorization: Bearer "...), p.token...), "\r\n"...)
	}
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(p.body)), 10)
	return append(append(dst, "\r\n\r\n"...), p.body...)
}

var errTooLong = errors.New("over") // so many bytes

var postRequest = &http.Request{Method: http.MethodPost} // what responses are to; never changed

// refusal reads what the server may have answered before it had read the
// request to its end, nil if that is no refusal.
func (c *conn) refusal(answer *bytes.Buffer) *http.Response {
	const patience = time.Second
	if c.SetReadDeadline(time.Now().Add(patience)) != nil {
		return nil
	}
	response, _, err := c.read(answer, 0)
	if err != nil || response.StatusCode/100 == 2 {
		answer.Reset()
		return nil
	}
	return response
}

// read reads a response, its body of at most maxAnswer bytes, or more for a
// larger request, into answer. Whole says that nothing is left of it on the
// connection, which may then be used again.
func (c *conn) read(answer *bytes.Buffer, more int) (response *http.Response, whole bool, err error) {
	limit := int64(max(maxAnswer, more))
	c.left.N = 2*limit + maxHead
	for {
		response, err = http.ReadResponse(c.in, postRequest)
		if err != nil {
			return nil, false, err
		}
		if response.StatusCode/100 != 1 {
			break // not merely informational
		}
		if response.StatusCode == http.StatusSwitchingProtocols {
			return response, false, errors.New("the server speaks another protocol")
		}
	}
	if response.StatusCode/100 != 2 {
		limit = maxErrorBody
	}
	_, err = answer.ReadFrom(io.LimitReader(response.Body, limit+1))
	if err == nil && int64(answer.Len()) > limit {
		err = fmt.Errorf("%w %d bytes", errTooLong, limit)
	}
	return response, err == nil && !response.Close && c.drained(), err
}

// drained reports whether nothing more has come in. What waits below TLS only
// TLS can tell; what has not come so far, silent will see.
func (c *conn) drained() bool {
	if c.Conn == c.raw {
		return c.in.Buffered() == 0
	}
	if c.raw.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	n, err := c.in.Peek(1)
	return len(n) == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// ended returns why the call was cut off, if it was, or err.
func (w *wire) ended(ctx context.Context, err error) error {
	late := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	if end, ok := ctx.Deadline(); late && ok && !time.Now().Before(end) {
		<-ctx.Done() // the connection has the same deadline, and may be the first to notice
	}
	end := ctx.Err()
	switch {
	case end == nil && late:
		return w.tooSlow
	case end == nil || errors.Is(err, end):
		return err
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, end) {
		return cause
	}
	return fmt.Errorf("%w: %w", end, cause)
}
