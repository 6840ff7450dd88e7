package redistest_test

import (
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"crier/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// processID asks the server at the address for the id of its process.
func processID(t *testing.T, s *redistest.Server) int {
	t.Helper()
	info, err := s.Client().Info(t.Context(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "process_id:")
	id, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestStart(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	if a.Addr == b.Addr {
		t.Fatalf("two servers at %s", a.Addr)
	}
	if err := a.Client().Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Client().Exists(t.Context(), "k").Result(); n != 0 || err != nil {
		t.Errorf("the other server has the key too: %d, %v", n, err)
	}
}

func TestServerEndsWithItsTest(t *testing.T) {
	var s *redistest.Server
	t.Run("inner", func(t *testing.T) {
		s = redistest.StartReal(t)
		if got := processID(t, s); got != s.PID {
			t.Errorf("process %d answers, want %d", got, s.PID)
		}
	})
	if s == nil {
		t.Skip("no redis-server in PATH")
	}
	if conn, err := net.Dial("tcp", s.Addr); err == nil {
		_ = conn.Close()
		t.Errorf("%s still answers after the test", s.Addr)
	}
}

func TestKillAndRestart(t *testing.T) {
	for name, tt := range map[string]struct {
		opts []redistest.Option
		want int64
	}{
		"in memory": {nil, 0},
		"AOF":       {[]redistest.Option{redistest.AOF()}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.StartReal(t, tt.opts...)
			client, addr, id := s.Client(), s.Addr, s.PID
			if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}
			s.Kill()
			if conn, err := net.Dial("tcp", addr); err == nil {
				_ = conn.Close()
				t.Error("it answers after Kill")
			}
			s.Restart()
			if s.Addr != addr || s.PID == id || processID(t, s) != s.PID {
				t.Errorf("restarted at %s as %d, before at %s as %d", s.Addr, s.PID, addr, id)
			}
			if n, err := client.Exists(t.Context(), "k").Result(); n != tt.want || err != nil {
				t.Errorf("%d keys after the restart, want %d (%v)", n, tt.want, err)
			}
		})
	}
}

func TestWith(t *testing.T) {
	s := redistest.StartReal(t, redistest.With("maxmemory-policy", "allkeys-lru"))
	got, err := s.Client().ConfigGet(t.Context(), "maxmemory-policy").Result()
	if err != nil || got["maxmemory-policy"] != "allkeys-lru" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWithoutRedisServer(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("CI", "")
	s := redistest.Start(t)
	if s.Real || s.PID != 0 {
		t.Errorf("%+v, want an embedded server", s)
	}
	if err := s.Client().Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
	for name, need := range map[string]func(t *testing.T){
		"StartReal": func(t *testing.T) { redistest.StartReal(t) },
		"options":   func(t *testing.T) { redistest.Start(t, redistest.AOF()) },
		"Kill":      func(t *testing.T) { redistest.Start(t).Kill() },
		"Restart":   func(t *testing.T) { redistest.Start(t).Restart() },
	} {
		skipped := false
		t.Run(name, func(t *testing.T) {
			defer func() { skipped = t.Skipped() }()
			need(t)
		})
		if !skipped {
			t.Errorf("%s did not skip its test", name)
		}
	}
}

// strict is a test that keeps what it fails with.
type strict struct {
	testing.TB
	failure string
}

func (s *strict) Fatalf(format string, args ...any) {
	s.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestWithoutRedisServerInCI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("CI", "true")
	for name, start := range map[string]func(testing.TB, ...redistest.Option) *redistest.Server{
		"Start":     redistest.Start,
		"StartReal": redistest.StartReal,
	} {
		inner := &strict{TB: t}
		var wg sync.WaitGroup
		wg.Go(func() { start(inner) })
		wg.Wait()
		if !strings.Contains(inner.failure, "redis-server") || !strings.Contains(inner.failure, "CI=true") {
			t.Errorf("%s failed with %q", name, inner.failure)
		}
	}
}

func TestSentinel(t *testing.T) {
	s := redistest.StartReal(t)
	watch := redistest.StartSentinel(t, s, "main")
	client := redis.NewSentinelClient(&redis.Options{Addr: watch.Addr})
	defer func() { _ = client.Close() }()
	addr, err := client.GetMasterAddrByName(t.Context(), "main").Result()
	if err != nil || net.JoinHostPort(addr[0], addr[1]) != s.Addr {
		t.Errorf("the sentinel tells %v, %v; want %s", addr, err, s.Addr)
	}
}
