// Package redistest starts Redis servers for tests: real ones where redis-server
// is installed, else embedded ones.
//
// Invariant: a Server that Start returned is the process that answers at its
// address, not another that took the port; and it ends with its test.
//
// It is for tests only; no program imports it.
package redistest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"crier/internal/procs"
	"crier/internal/redisconn"
)

// program is looked up in PATH.
const program = "redis-server"

// Server is a Redis server that ends with its test.
type Server struct {
	Addr string // host:port
	URL  string // of database 0, for redisconn.Open
	PID  int    // of the process; 0 = embedded
	Real bool   // false = embedded

	t     testing.TB
	redis *procs.Redis // nil = embedded
}

// Option is a setting of a server that Start starts: directives of redis.conf,
// as arguments.
type Option []string

// With adds a directive of redis.conf, such as With("maxmemory-policy", "allkeys-lru").
// An embedded server knows none, so a test with directives gets a real one.
func With(directive string, values ...string) Option {
	return append(Option{"--" + directive}, values...)
}

// AOF makes the server log every write to disk before it answers, so that
// nothing is lost between Kill and Restart.
func AOF() Option { return Option{"--appendonly", "yes", "--appendfsync", "always"} }

// Start starts a server on a free port of 127.0.0.1, which keeps nothing on
// disk if no option says so. Without redis-server it is an embedded one, unless
// there are options, which need a real one as with StartReal.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	if len(opts) > 0 || installed(t) {
		return StartReal(t, opts...)
	}
	t.Logf("redistest: no %s in PATH: this test runs on an embedded server", program)
	conn, err := redisconn.Open("embedded:0")
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	addr := strings.TrimSuffix(strings.TrimPrefix(conn.Addr(), "redis://"), "/0")
	return &Server{Addr: addr, URL: conn.Addr(), t: t}
}

// StartReal is Start for tests that an embedded server cannot serve: without
// redis-server they are skipped.
func StartReal(t testing.TB, opts ...Option) *Server {
	t.Helper()
	if !installed(t) {
		t.Skipf("redistest: no %s in PATH", program)
	}
	dir := t.TempDir()
	r, err := procs.StartRedis(t.Context(), &procs.Programs{Dir: dir}, dir, slices.Concat(opts...)...)
	return serve(t, r, err)
}

// Files are certificates and a key in PEM form, by the names of their files.
type Files struct{ CA, Cert, Key string }

// StartTLS is StartReal for a server that speaks nothing but TLS, and only with
// clients whose certificate the same authority has signed. Server and clients
// show the same one, which has to be for 127.0.0.1; URL names the files.
func StartTLS(t testing.TB, f Files, opts ...Option) *Server {
	t.Helper()
	if !installed(t) {
		t.Skipf("redistest: no %s in PATH", program)
	}
	query := "?ca=" + url.QueryEscape(f.CA) + "&cert=" + url.QueryEscape(f.Cert) + "&key=" + url.QueryEscape(f.Key)
	trusted := x509.NewCertPool()
	authority, err := os.ReadFile(f.CA)
	if err != nil || !trusted.AppendCertsFromPEM(authority) {
		t.Fatalf("redistest: %s is no certificate: %v", f.CA, err)
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	client := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trusted, Certificates: []tls.Certificate{pair}}
	opts = append(opts, With("tls-ca-cert-file", f.CA), With("tls-cert-file", f.Cert), With("tls-key-file", f.Key))
	dir := t.TempDir()
	r, err := procs.StartTLSRedis(t.Context(), &procs.Programs{Dir: dir}, dir, client, slices.Concat(opts...)...)
	s := serve(t, r, err)
	s.URL += query
	return s
}

// StartSentinel starts a sentinel that watches master under a name, by itself
// enough to declare it down, after a second. Without redis-server the test is skipped.
func StartSentinel(t testing.TB, master *Server, name string) *Server {
	t.Helper()
	return startSentinel(t, procs.Watch{Name: name, Master: master.Addr, Quorum: 1})
}

func startSentinel(t testing.TB, w procs.Watch) *Server {
	t.Helper()
	if !installed(t) {
		t.Skipf("redistest: no %s in PATH", program)
	}
	dir := t.TempDir()
	r, err := procs.StartSentinel(t.Context(), &procs.Programs{Dir: dir}, dir, w)
	return serve(t, r, err)
}

// serve is a server of what was started, until the end of the test.
func serve(t testing.TB, r *procs.Redis, err error) *Server {
	t.Helper()
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	t.Cleanup(r.Kill)
	return &Server{Addr: r.Addr, URL: r.URL(), PID: r.PID(), Real: true, t: t, redis: r}
}

// installed tells whether there is a redis-server. With CI=true in the
// environment there has to be one: a test that does not run there runs nowhere.
func installed(t testing.TB) bool {
	t.Helper()
	_, err := exec.LookPath(program)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("redistest: %v, and CI=true", err)
	}
	return err == nil
}

// Client gives a client for database 0, closed at the end of the test.
func (s *Server) Client() redis.UniversalClient {
	s.t.Helper()
	conn, err := redisconn.Open(s.URL)
	if err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn.Client
}

// Kill ends the server at once (SIGKILL), as a crash does. On an embedded
// server it skips the test. Call it from the test's own goroutine.
func (s *Server) Kill() {
	s.t.Helper()
	s.needReal()
	s.redis.Kill()
}

// Restart starts the server again, after Kill, at the same address and in the
// same directory; PID changes. On an embedded server it skips the test.
func (s *Server) Restart() {
	s.t.Helper()
	s.needReal()
	s.redis.Kill()
	if err := s.redis.Restart(context.WithoutCancel(s.t.Context())); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	s.PID = s.redis.PID()
}

func (s *Server) needReal() {
	s.t.Helper()
	if !s.Real {
		s.t.Skipf("redistest: no %s in PATH, and an embedded server cannot crash", program)
	}
}
