// Package redistest starts Redis servers for tests: real ones where redis-server
// is installed, else embedded ones.
//
// Invariant: a Server that Start returned is the process that answers at its
// address, not another that took the port; and it ends with its test.
//
// It is for tests only; no program imports it.
package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

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
	dir   string
	first []string // arguments that redis-server takes before all others
	args  []string
	proc  *process
}

// Option is a setting of a server that Start starts.
type Option func(*Server)

// With adds a directive of redis.conf, such as With("maxmemory-policy", "allkeys-lru").
// An embedded server knows none, so a test with directives gets a real one.
func With(directive string, values ...string) Option {
	return func(s *Server) { s.args = append(append(s.args, "--"+directive), values...) }
}

// AOF makes the server log every write to disk before it answers, so that
// nothing is lost between Kill and Restart.
func AOF() Option {
	return func(s *Server) {
		With("appendonly", "yes")(s)
		With("appendfsync", "always")(s)
	}
}

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
	s := &Server{Real: true, t: t, dir: t.TempDir()}
	s.args = []string{"--save", "", "--appendonly", "no"} // options come behind and win
	for _, opt := range opts {
		opt(s)
	}
	s.start("")
	return s
}

// StartSentinel starts a sentinel that watches master under a name, by itself
// enough to declare it down, after a second. Without redis-server the test is skipped.
func StartSentinel(t testing.TB, master *Server, name string) *Server {
	t.Helper()
	if !installed(t) || !master.Real {
		t.Skipf("redistest: no %s in PATH", program)
	}
	s := &Server{Real: true, t: t, dir: t.TempDir()}
	config := filepath.Join(s.dir, "sentinel.conf")
	monitor := fmt.Sprintf("sentinel monitor %s %s 1\nsentinel down-after-milliseconds %s 1000\n",
		name, strings.Replace(master.Addr, ":", " ", 1), name)
	if err := os.WriteFile(config, []byte(monitor), 0o600); err != nil {
		t.Fatalf("redistest: %v", err)
	}
	s.first = []string{config, "--sentinel"}
	s.start("")
	return s
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

// start starts the process, on the port given or on any free one, until the end
// of the test.
func (s *Server) start(port string) {
	s.t.Helper()
	proc, err := s.startProcess(port)
	if err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	s.t.Cleanup(proc.end)
	s.proc, s.PID = proc, proc.cmd.Process.Pid
	s.Addr = net.JoinHostPort("127.0.0.1", proc.port)
	s.URL = "redis://" + s.Addr + "/0"
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
	s.proc.end()
}

// Restart starts the server again, after Kill, at the same address and in the
// same directory; PID changes. On an embedded server it skips the test.
func (s *Server) Restart() {
	s.t.Helper()
	s.needReal()
	s.proc.end()
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	s.start(port)
}

func (s *Server) needReal() {
	s.t.Helper()
	if !s.Real {
		s.t.Skipf("redistest: no %s in PATH, and an embedded server cannot crash", program)
	}
}
