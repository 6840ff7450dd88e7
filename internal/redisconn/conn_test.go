package redisconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"crier/internal/redisconn"
	"crier/internal/redistest"
)

// A pool that could not dial tries on for up to a second after it was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

func open(t *testing.T, rawURL string, opts ...redisconn.Option) *redisconn.Conn {
	t.Helper()
	conn, err := redisconn.Open(rawURL, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-ticker.C:
		}
	}
}

func setAndGet(t *testing.T, conn *redisconn.Conn) {
	t.Helper()
	if err := conn.Client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := conn.Client.Get(t.Context(), "k").Result(); got != "v" || err != nil {
		t.Errorf("Get = %q, %v", got, err)
	}
}

func TestSingle(t *testing.T) {
	server := redistest.StartReal(t)
	admin := server.Client()
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "bob", "on", ">p@ss/w:rd", "~*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	conn := open(t, "redis://bob:p%40ss%2Fw:rd@"+server.Addr+"/5")
	setAndGet(t, conn)
	if who, err := conn.Client.Do(t.Context(), "ACL", "WHOAMI").Text(); who != "bob" || err != nil {
		t.Errorf("logged in as %q, %v", who, err)
	}
	if n, err := admin.Exists(t.Context(), "k").Result(); n != 0 || err != nil {
		t.Errorf("database 0 has the key of database 5: %d, %v", n, err)
	}
	if want := "redis://" + server.Addr + "/5"; conn.Addr() != want || conn.Embedded {
		t.Errorf("Addr = %s, Embedded = %v; want %s", conn.Addr(), conn.Embedded, want)
	}

	wrong := open(t, "redis://bob:hunter2@"+server.Addr)
	if _, err := wrong.Check(t.Context()); err == nil || !redis.IsAuthError(err) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestSentinel(t *testing.T) {
	server := redistest.StartReal(t)
	watch := redistest.StartSentinel(t, server, "main")
	setUser := func(client redis.UniversalClient, rules ...any) {
		t.Helper()
		if err := client.Do(t.Context(), append([]any{"ACL", "SETUSER"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	setUser(server.Client(), "bob", "on", ">pw", "~*", "&*", "+@all")
	// The least that docs/redis.md tells to give.
	setUser(watch.Client(), "sam", "on", ">s&w", "resetchannels", "&+switch-master", "&+replica-reconf-done",
		"+ping", "+subscribe", "+sentinel|get-master-addr-by-name", "+sentinel|sentinels")
	auditor := watch.Client()
	setUser(auditor, "auditor", "on", ">audit", "+@all")
	if err := auditor.Do(t.Context(), "ACL", "SETUSER", "default", "resetpass", ">hidden").Err(); err != nil {
		t.Fatal(err)
	}
	query := "/2?master=main&sentinel_user=sam&sentinel_password=s%26w"
	conn := open(t, "redis-sentinel://bob:pw@"+watch.Addr+query)
	setAndGet(t, conn)
	if who, err := conn.Client.Do(t.Context(), "ACL", "WHOAMI").Text(); who != "bob" || err != nil {
		t.Errorf("logged in as %q, %v", who, err)
	}
	if facts, err := conn.Check(t.Context()); facts.Version == "" || err != nil {
		t.Errorf("%+v, %v", facts, err)
	}
	if want := "redis-sentinel://" + watch.Addr + "/2?master=main"; conn.Addr() != want {
		t.Errorf("Addr = %s, want %s", conn.Addr(), want)
	}
	looks := open(t, "redis://auditor:audit@"+watch.Addr)
	if denied, err := looks.Client.Do(t.Context(), "ACL", "LOG").Slice(); err != nil || len(denied) > 0 {
		t.Errorf("the sentinel has denied %v, %v", denied, err)
	}
}

func TestCluster(t *testing.T) {
	server := redistest.StartReal(t, redistest.With("cluster-enabled", "yes"), redistest.With("maxmemory-policy", "allkeys-lfu"))
	admin := server.Client()
	if err := admin.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool {
		info, err := admin.ClusterInfo(t.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
	conn := open(t, "redis-cluster://"+server.Addr, redisconn.PoolSize(3))
	setAndGet(t, conn)
	client, ok := conn.Client.(*redis.ClusterClient)
	if !ok || client.Options().PoolSize != 3 {
		t.Fatalf("%T, want a cluster client with 3 connections a server", conn.Client)
	}
	facts, err := conn.Check(t.Context())
	if err != nil || facts.Version == "" || !facts.MayEvict || facts.MaxMemoryPolicy != "allkeys-lfu" {
		t.Errorf("%+v, %v", facts, err)
	}
}

// A replica that takes its master's place is found in seconds, though the servers
// that are left say nothing of it.
func TestClusterFailsOver(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, true)
	conn := open(t, cluster.URL)
	key := "k"
	for i := 0; cluster.Owner(t, key) != cluster.Masters[0]; i++ {
		key = fmt.Sprint("k", i)
	}
	set := func() bool { return conn.Client.Set(t.Context(), key, "v", 0).Err() == nil }
	if !set() {
		t.Fatal("the cluster takes no write")
	}
	cluster.Masters[0].Kill()
	eventually(t, "the replica takes writes", set)
}

func TestOptions(t *testing.T) {
	conn := open(t, "redis://127.0.0.1:1", redisconn.PoolSize(7))
	got := conn.Client.(*redis.Client).Options()
	if got.PoolSize != 7 || got.MaxRetries != 3 || !got.ContextTimeoutEnabled || !got.DisableIdentity {
		t.Errorf("%+v", got)
	}
	if got.DialTimeout != 5*time.Second || got.ReadTimeout != 3*time.Second || got.WriteTimeout != 3*time.Second {
		t.Errorf("timeouts: dial %v, read %v, write %v", got.DialTimeout, got.ReadTimeout, got.WriteTimeout)
	}
}

// A server that takes connections and never answers must not hold a command
// beyond its context.
func TestContextEndsACommand(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	conn := open(t, "redis://"+silent.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = conn.Check(ctx)
	if err == nil || time.Since(start) > 2*time.Second {
		t.Errorf("Check = %v after %v", err, time.Since(start))
	}
	if !strings.HasPrefix(err.Error(), "redisconn: check: ") {
		t.Errorf("%v, want it to say who and what", err)
	}
}

func TestCloseTwice(t *testing.T) {
	conn := open(t, "embedded:0")
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := conn.Client.Ping(t.Context()).Err(); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("Ping after Close = %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

// lockedBuffer takes log lines from any goroutine.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestLogger(t *testing.T) {
	server := redistest.Start(t)
	var log lockedBuffer
	redisconn.SetLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer redisconn.SetLogger(nil)

	for _, rawURL := range []string{server.URL, "embedded:0"} {
		setAndGet(t, open(t, rawURL))
		if log.String() != "" {
			t.Errorf("a healthy server is not quiet: %s", log.String())
		}
	}
	away := open(t, "redis://bob:hunter2@127.0.0.1:1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := away.Client.Ping(ctx).Err(); err == nil {
		t.Fatal("a server answers on port 1")
	}
	eventually(t, "the log tells of the dial", func() bool {
		return strings.Contains(log.String(), "level=DEBUG") && strings.Contains(log.String(), "127.0.0.1:1")
	})
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the log has the password: %s", log.String())
	}
}

func TestLoggerLevels(t *testing.T) {
	var log lockedBuffer
	forward := redisconn.NewForwarder(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo})))
	forward.Printf(t.Context(), "redis: connection pool: failed to dial after %d attempts", 5)
	forward.Printf(t.Context(), "sentinel: new master=%q addr=%q", "main", "h:1")
	forward.Printf(t.Context(), "autopipeline: recovered dispatch panic: %v", "oops")
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "level=INFO") || !strings.Contains(lines[0], "h:1") || !strings.Contains(lines[1], "level=WARN") {
		t.Errorf("the log has %q", lines)
	}
}

func ExampleOpen() {
	conn, err := redisconn.Open("embedded:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	facts, err := conn.Check(context.Background())
	fmt.Println(facts.Embedded, facts.MayEvict, err)
	// Output: true false <nil>
}

func TestMetrics(t *testing.T) {
	server := redistest.StartReal(t, redistest.With("maxmemory", "64mb"))
	conn, err := redisconn.Open(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(conn.Metrics())
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	want := `# HELP crier_redis_memory_max_bytes Its limit (maxmemory); 0 = none.
# TYPE crier_redis_memory_max_bytes gauge
crier_redis_memory_max_bytes 6.7108864e+07
# HELP crier_redis_persistence_ok 1 if Redis's last writes to disk went well, or none was due.
# TYPE crier_redis_persistence_ok gauge
crier_redis_persistence_ok 1
# HELP crier_redis_up 1 if Redis answered this process just now, and did not refuse.
# TYPE crier_redis_up gauge
crier_redis_up 1
`
	names := []string{"crier_redis_memory_max_bytes", "crier_redis_persistence_ok", "crier_redis_up"}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"crier_redis_memory_used_bytes", "crier_redis_connected_clients", "crier_redis_commands_total", "crier_redis_ping_seconds"} {
		if n, err := testutil.GatherAndCount(registry, name); n != 1 || err != nil {
			t.Errorf("%d series of %s: %v", n, name, err)
		}
	}
	server.Kill() // then nothing is told of it but that
	want = "# HELP crier_redis_up 1 if Redis answered this process just now, and did not refuse.\n# TYPE crier_redis_up gauge\ncrier_redis_up 0\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), append(names, "crier_redis_ping_seconds")...); err != nil {
		t.Error(err)
	}
}
