package apiclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// rawServer speaks TCP: it calls handle with every request that it has read
// whole, and closes the connection when that says no.
type rawServer struct {
	listener net.Listener
	requests atomic.Int32
	handlers sync.WaitGroup
}

func serveRaw(t *testing.T, handle func(conn net.Conn, request int32) (goOn bool)) *rawServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{listener: listener}
	s.handlers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.handlers.Go(func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				for {
					request, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, request.Body); err != nil {
						return
					}
					if !handle(conn, s.requests.Add(1)) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		s.handlers.Wait()
	})
	return s
}

func (s *rawServer) url() string { return "http://" + s.listener.Addr().String() }

// accept answers as the API does when all went well.
func accept(conn net.Conn) {
	const body = `{"data":{"a":"success"}}`
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// faultyConn lets a test look at and spoil a connection below the client's own
// counting.
type faultyConn struct {
	net.Conn
	write  func(b []byte) (int, error) // nil = as usual
	closed func()                      // it was, or is of no more use; nil ok
}

func (c *faultyConn) Write(b []byte) (int, error) {
	if c.write != nil {
		return c.write(b)
	}
	return c.Conn.Write(b)
}

// SetDeadline of a time that is past ends what is under way.
func (c *faultyConn) SetDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) && c.closed != nil {
		c.closed()
	}
	return c.Conn.SetDeadline(t)
}

func (c *faultyConn) Close() error {
	err := c.Conn.Close()
	if c.closed != nil {
		c.closed()
	}
	return err
}

// spoil puts spoilt around every connection that the client makes; n counts them from 1.
func spoil(client *Client, spoilt func(conn *faultyConn, n int32)) {
	var n atomic.Int32
	client.wire.conns.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		faulty := &faultyConn{Conn: conn}
		spoilt(faulty, n.Add(1))
		return faulty, nil
	}
}

func TestLostAfterTheRequestOnANewConnection(t *testing.T) {
	server := serveRaw(t, func(net.Conn, int32) bool { return false })
	e := wantError(t.Context(), t, newClient(t, server.url()), usersCall("a"))
	if e.Kind != KindUnknown || e.Status != 0 || server.requests.Load() != 1 {
		t.Errorf("%+v after %d requests", *e, server.requests.Load())
	}
}

// A connection that was good and is closed after the second request was read:
// that request must not be sent once more.
func TestLostAfterTheRequestOnAUsedConnection(t *testing.T) {
	server := serveRaw(t, func(conn net.Conn, request int32) bool {
		if request == 2 {
			return false
		}
		accept(conn)
		return true
	})
	client := newClient(t, server.url())
	if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
		t.Fatal(err)
	}
	e := wantError(t.Context(), t, client, usersCall("a"))
	if e.Kind != KindUnknown || e.Status != 0 || server.requests.Load() != 2 {
		t.Errorf("%+v after %d requests", *e, server.requests.Load())
	}
}

// The answer is lost by a reset in place of a proper end.
func TestResetAfterTheRequest(t *testing.T) {
	server := serveRaw(t, func(conn net.Conn, request int32) bool {
		if request == 2 {
			if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
				t.Error(err)
			}
			return false
		}
		accept(conn)
		return true
	})
	client := newClient(t, server.url())
	if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
		t.Fatal(err)
	}
	e := wantError(t.Context(), t, client, usersCall("a"))
	if e.Kind != KindUnknown || !errors.Is(e, syscall.ECONNRESET) || server.requests.Load() != 2 {
		t.Errorf("%+v after %d requests", *e, server.requests.Load())
	}
}

// A kept connection that the server has closed is not used again.
func TestClosedWhileIdle(t *testing.T) {
	server := serveRaw(t, func(conn net.Conn, request int32) bool {
		accept(conn)
		return request > 1 // the first connection ends after its answer
	})
	client := newClient(t, server.url())
	if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for kept := client.wire.conns.idle[0]; silent(kept.raw); {
		<-tick.C // the server's close has not arrived yet
	}
	if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
		t.Fatal(err)
	}
	if n := server.requests.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// Writing fails: what counts is whether a byte went out, and on a used
// connection the client may only go on by itself if none did.
func TestWriteFails(t *testing.T) {
	tests := []struct {
		name    string
		used    bool
		goesOut bool // a part of the request
		want    Kind // "" = success on another connection
	}{
		{"new connection, nothing written", false, false, KindUnavailable},
		{"new connection, a part written", false, true, KindUnknown},
		{"used connection, nothing written", true, false, ""},
		{"used connection, a part written", true, true, KindUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serveRaw(t, func(conn net.Conn, _ int32) bool { accept(conn); return true })
			client := newClient(t, server.url())
			var broken atomic.Bool
			spoil(client, func(conn *faultyConn, n int32) {
				if n > 1 {
					return
				}
				conn.write = func(b []byte) (int, error) {
					switch {
					case !broken.Load():
						return conn.Conn.Write(b)
					case !tt.goesOut:
						return 0, syscall.EPIPE
					}
					part, _ := conn.Conn.Write(b[:len(b)-1])
					return part, syscall.EPIPE
				}
			})
			if tt.used {
				if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
					t.Fatal(err)
				}
			}
			before := server.requests.Load()
			broken.Store(true)
			_, err := client.Send(t.Context(), usersCall("a"))
			var got Kind
			if e := (*Error)(nil); errors.As(err, &e) {
				got = e.Kind
			}
			arrived := server.requests.Load() - before
			if got != tt.want || arrived != 0 && tt.want != "" || arrived != 1 && tt.want == "" {
				t.Errorf("%v, and %d requests arrived", err, arrived)
			}
		})
	}
}

func TestNoConnection(t *testing.T) {
	server := serve(t, nil)
	server.Close()
	status := -1
	client := newClient(t, server.URL, func(c *Config) {
		c.Observe = func(_ string, got int, _ time.Duration) { status = got }
	})
	e := wantError(t.Context(), t, client, usersCall("a"))
	if e.Kind != KindUnavailable || !errors.Is(e, syscall.ECONNREFUSED) || status != 0 {
		t.Errorf("%+v, observed %d", *e, status)
	}
}

func TestUnknownHost(t *testing.T) {
	client := newClient(t, "http://chat.invalid")
	client.wire.conns.dial = (&net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}}).DialContext
	e := wantError(t.Context(), t, client, usersCall("a"))
	var dns *net.DNSError
	if e.Kind != KindUnavailable || !errors.As(e, &dns) {
		t.Errorf("%+v", *e)
	}
}

func TestContextEndedBefore(t *testing.T) {
	server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := wantError(ctx, t, newClient(t, server.URL), usersCall("a"))
	if e.Kind != KindUnavailable || !errors.Is(e, context.Canceled) {
		t.Errorf("%+v", *e)
	}
}

func TestContextEndsWhileConnecting(t *testing.T) {
	why := errors.New("the worker drains")
	ctx, cancel := context.WithCancelCause(t.Context())
	client := newClient(t, "http://127.0.0.1:1")
	client.wire.conns.dial = func(dial context.Context, _, _ string) (net.Conn, error) {
		cancel(why)
		<-dial.Done()
		return nil, dial.Err()
	}
	e := wantError(ctx, t, client, usersCall("a"))
	if e.Kind != KindUnavailable || !errors.Is(e, context.Canceled) {
		t.Errorf("%+v", *e)
	}
}

// On a used connection only what was written of this request counts.
func TestContextEndsWhileNothingCanBeWritten(t *testing.T) {
	server := serveRaw(t, func(conn net.Conn, _ int32) bool { accept(conn); return true })
	client := newClient(t, server.url())
	ctx, cancel := context.WithCancel(t.Context())
	var stuck atomic.Bool
	spoil(client, func(conn *faultyConn, _ int32) {
		closed := make(chan struct{})
		conn.closed = sync.OnceFunc(func() { close(closed) })
		conn.write = func(b []byte) (int, error) {
			if !stuck.Load() {
				return conn.Conn.Write(b)
			}
			cancel()
			<-closed
			return 0, net.ErrClosed
		}
	})
	if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
		t.Fatal(err)
	}
	stuck.Store(true)
	e := wantError(ctx, t, client, usersCall("a"))
	if e.Kind != KindUnavailable || !errors.Is(e, context.Canceled) || server.requests.Load() != 1 {
		t.Errorf("%+v after %d requests", *e, server.requests.Load())
	}
}

// hang answers nothing until the client is gone.
func hang(arrived func()) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server then sees the client go
		arrived()
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // not even a status
	}
}

func TestContextEndsAfterTheRequest(t *testing.T) {
	why := errors.New("the worker drains")
	ctx, cancel := context.WithCancelCause(t.Context())
	server := serve(t, hang(func() { cancel(why) }))
	e := wantError(ctx, t, newClient(t, server.URL), usersCall("a"))
	if e.Kind != KindUnknown || e.Status != 0 || !errors.Is(e, context.Canceled) || !errors.Is(e, why) {
		t.Errorf("%+v", *e)
	}
}

func TestTimeout(t *testing.T) {
	short := func(c *Config) { c.Timeout = 50 * time.Millisecond }
	t.Run("no answer", func(t *testing.T) {
		server := serve(t, hang(func() {}))
		e := wantError(t.Context(), t, newClient(t, server.URL, short), usersCall("a"))
		if e.Kind != KindUnknown || !errors.Is(e, context.DeadlineExceeded) ||
			e.Error() != "apiclient: send: unknown: no answer within 50ms: context deadline exceeded" {
			t.Errorf("%+v", *e)
		}
	})
	t.Run("half an answer", func(t *testing.T) {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, `{"data":{`)
			_ = http.NewResponseController(w).Flush()
			hang(func() {})(w, r)
		})
		e := wantError(t.Context(), t, newClient(t, server.URL, short), usersCall("a"))
		if e.Kind != KindUnknown || e.Status != 200 || !errors.Is(e, context.DeadlineExceeded) || e.Body != `{"data":{` {
			t.Errorf("%+v", *e)
		}
	})
	t.Run("half an error", func(t *testing.T) {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = fmt.Fprint(w, `{"error":"reach_limit",`)
			_ = http.NewResponseController(w).Flush()
			hang(func() {})(w, r)
		})
		e := wantError(t.Context(), t, newClient(t, server.URL, short), usersCall("a"))
		if e.Kind != KindThrottled || e.Code != "reach_limit" {
			t.Errorf("%+v", *e)
		}
	})
	t.Run("connecting", func(t *testing.T) {
		client := newClient(t, "http://127.0.0.1:1", short)
		client.wire.conns.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		e := wantError(t.Context(), t, client, usersCall("a"))
		if e.Kind != KindUnavailable || !errors.Is(e, context.DeadlineExceeded) {
			t.Errorf("%+v", *e)
		}
	})
}

// tlsConfig trusts the server.
func tlsConfig(server *httptest.Server) *tls.Config {
	return server.Client().Transport.(*http.Transport).TLSClientConfig
}

func TestTLS(t *testing.T) {
	var lose atomic.Bool
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if lose.Load() {
			panic(http.ErrAbortHandler) // closes the connection
		}
		_, _ = fmt.Fprintf(w, `{"data":{"a":"over %s"}}`, r.Proto)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = quiet
	server.StartTLS()
	defer server.Close()

	t.Run("trusted", func(t *testing.T) {
		client := newClient(t, server.URL)
		client.wire.conns.tls = tlsConfig(server)
		got, err := client.Send(t.Context(), usersCall("a"))
		if err != nil || len(got.Failed) != 1 || got.Failed[0].Text != "over HTTP/1.1" {
			t.Errorf("%+v, %v", got, err)
		}
		lose.Store(true)
		defer lose.Store(false)
		if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnknown {
			t.Errorf("lost after the request: %+v", *e)
		}
	})
	t.Run("not trusted", func(t *testing.T) {
		e := wantError(t.Context(), t, newClient(t, server.URL), usersCall("a"))
		var wrong *tls.CertificateVerificationError
		if e.Kind != KindUnavailable || !errors.As(e, &wrong) {
			t.Errorf("%+v", *e)
		}
	})
	t.Run("cancelled while waiting", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		waiting := httptest.NewTLSServer(hang(cancel))
		defer waiting.Close()
		client := newClient(t, waiting.URL)
		client.wire.conns.tls = tlsConfig(waiting)
		if e := wantError(ctx, t, client, usersCall("a")); e.Kind != KindUnknown || !errors.Is(e, context.Canceled) {
			t.Errorf("%+v", *e)
		}
	})
}

func TestProxy(t *testing.T) {
	var lose atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if lose.Load() {
			panic(http.ErrAbortHandler)
		}
		_, _ = fmt.Fprint(w, `{"data":{"a":"success"}}`)
	}))
	server.Config.ErrorLog = quiet
	defer server.Close()
	var open atomic.Bool
	open.Store(true)
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !open.Load() {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		tunnel(t, w, r.Host)
	})
	client := newClient(t, server.URL)
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client.wire.conns.proxy, client.wire.conns.tls = address, tlsConfig(server)
	if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
		t.Fatal(err)
	}
	lose.Store(true)
	if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnknown {
		t.Errorf("lost: %+v", *e)
	}
	open.Store(false)
	if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnavailable || e.Status != 0 {
		t.Errorf("the proxy is shut: %+v", *e)
	}
}

// tunnel connects the client of w with address until one of the two ends.
func tunnel(t *testing.T, w http.ResponseWriter, address string) {
	t.Helper()
	there, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = there.Close() }()
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = here.Close() }()
	_, _ = fmt.Fprint(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	var up sync.WaitGroup
	up.Go(func() { _, _ = io.Copy(there, here); _ = there.Close() })
	_, _ = io.Copy(here, there)
	_ = here.Close()
	up.Wait()
}

func TestConfigValidate(t *testing.T) {
	good := func(c *Config) { c.Org, c.App, c.Tokens = "chat-demo", "testapp", FixedToken("t") }
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"good", func(*Config) {}, ""},
		{"a path in the base", func(c *Config) { c.BaseURL = "http://127.0.0.1:80/api/" }, ""},
		{"everything", func(c *Config) { *c = Config{} }, "BaseURL: must be an http or https URL\nOrg: is required\nApp: is required\n" +
			"Form: must be unified or split\nTimeout: must be more than 0\nMaxConns: must be more than 0\nTokens: is required"},
		{"scheme", func(c *Config) { c.BaseURL = "a1.easecdn.com" }, "BaseURL: must be an http or https URL"},
		{"no URL", func(c *Config) { c.BaseURL = "http://user:secret@h:x y" }, "BaseURL: must be an http or https URL"},
		{"password", func(c *Config) { c.BaseURL = "https://user:secret@h" }, "BaseURL: must hold no user, query or fragment"},
		{"query", func(c *Config) { c.BaseURL = "https://h/?k=secret" }, "BaseURL: must hold no user, query or fragment"},
		{"app key for org", func(c *Config) { c.Org = "chat-demo#testapp" }, "Org: must be one part of a path, without / # ? % and spaces"},
		{"dots", func(c *Config) { c.App = ".." }, "App: must be one part of a path, without / # ? % and spaces"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			good(&c)
			tt.change(&c)
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			client, err := New(c)
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), "apiclient: ") {
				t.Errorf("New: %v", err)
			}
			if client != nil {
				client.Close()
			}
		})
	}
}

// Each fault can be told apart, so that a command can name its own flags.
func TestConfigFaultsAreFieldErrors(t *testing.T) {
	_, err := New(Config{})
	var first FieldError
	if !errors.As(err, &first) || first.Field != "BaseURL" {
		t.Errorf("%v", err)
	}
}
