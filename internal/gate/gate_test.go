package gate

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"crier/internal/redisconn"
	"crier/internal/redistest"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "30") // each asks Redis some hundred times; the command line wins
	goleak.VerifyTestMain(m)
}

// onEach runs a test on a real Redis and on the embedded one, each its own.
func onEach(t *testing.T, test func(t *testing.T, client redis.UniversalClient)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.Start(t).Client())
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		conn, err := redisconn.Open("embedded:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		test(t, conn.Client)
	})
}

const (
	users        = "users"
	probeTimeout = time.Hour
)

// newGate is a gate for users with these quotas and no margin.
func newGate(client redis.UniversalClient, rates ...Rate) *Gate {
	return New(client, Config{Namespace: "test", Quotas: Quotas{users: rates}, ProbeTimeout: probeTimeout})
}

// tb is what tests and rapid checks have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Context() context.Context
}

// pass lets time pass, without waiting: all times that Redis has stored become
// older. A negative time is a clock that was set back.
func pass(t tb, client redis.UniversalClient, d time.Duration) {
	t.Helper()
	keys, err := client.Keys(t.Context(), "test:*").Result()
	for _, key := range keys {
		if err == nil && strings.HasSuffix(key, ":state") {
			err = passState(t.Context(), client, key, d)
		} else if err == nil {
			err = passList(t.Context(), client, key, d)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func passState(ctx context.Context, client redis.UniversalClient, key string, d time.Duration) error {
	fields, err := client.HGetAll(ctx, key).Result()
	for _, field := range []string{"until", "since", "paced", "paced_since"} {
		if fields[field] != "" && err == nil {
			err = client.HIncrBy(ctx, key, field, -d.Microseconds()).Err()
		}
	}
	return err
}

func passList(ctx context.Context, client redis.UniversalClient, key string, d time.Duration) error {
	entries, err := client.LRange(ctx, key, 0, -1).Result()
	for i, entry := range entries {
		at, rest, _ := strings.Cut(entry, " ")
		us, atErr := strconv.ParseInt(at, 10, 64)
		if err == nil {
			err = atErr
		}
		if err == nil {
			err = client.LSet(ctx, key, int64(i), fmt.Sprintf("%d %s", us-d.Microseconds(), rest)).Err()
		}
	}
	return err
}

func ask(t tb, g *Gate, targets ...int) Grant {
	t.Helper()
	grant, err := g.Ask(t.Context(), users, targets...)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// expect compares a grant, and the wait with the longest that is right.
func expect(t testing.TB, what string, got, want Grant, upto time.Duration) {
	t.Helper()
	if got.Wait < 0 || got.Wait > upto || (got.Wait == 0) != (got.Calls > 0) {
		t.Errorf("%s: wait %v, want at most %v", what, got.Wait, upto)
	}
	if got.Wait = 0; got != want {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

func serverTime(t tb, client redis.UniversalClient) time.Time {
	t.Helper()
	now, err := client.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func TestDefaultConfig(t *testing.T) {
	got := DefaultConfig()
	if got.Namespace != "crier" || len(got.Quotas) != 0 || got.Margin <= 0 || got.Margin > 100*time.Millisecond {
		t.Errorf("%+v", got)
	}
}

func TestErrors(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGate(client)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, call := range map[string]func() error{
			"Ask":     func() error { _, err := g.Ask(ctx, users, 1); return err },
			"AskRate": func() error { _, err := g.AskRate(ctx, "j", 1, 1); return err },
			"Report":  func() error { _, err := g.Report(ctx, users, true, Hold{}); return err },
			"Passed":  func() error { return g.Passed(ctx, users, true) },
			"Blocked": func() error { _, err := g.Blocked(ctx, users); return err },
		} {
			if err := call(); err == nil || !strings.HasPrefix(err.Error(), "gate: ") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
