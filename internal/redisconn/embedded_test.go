package redisconn_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"crier/internal/redisconn"
)

func TestEmbedded(t *testing.T) {
	conn := open(t, "embedded:0")
	if !conn.Embedded || strings.HasSuffix(conn.Addr(), ":0/0") {
		t.Errorf("Embedded = %v at %s", conn.Embedded, conn.Addr())
	}
	setAndGet(t, conn)
	other := open(t, conn.Addr()) // as another program would
	if got, err := other.Client.Get(t.Context(), "k").Result(); got != "v" || err != nil {
		t.Errorf("through its address: %q, %v", got, err)
	}
	for _, c := range []*redisconn.Conn{conn, other} {
		if facts, err := c.Check(t.Context()); !facts.Embedded || facts.MayEvict || err != nil {
			t.Errorf("Check = %+v, %v", facts, err)
		}
	}
}

func TestEmbeddedPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_, err = redisconn.Open("embedded:" + port)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "127.0.0.1:"+port+" is in use: choose another port with embedded:PORT") {
		t.Errorf("Open = %v", err)
	}
}

// The port is free again after Close.
func TestEmbeddedPortIsGivenBack(t *testing.T) {
	conn := open(t, "embedded:0")
	_, port, _ := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(conn.Addr(), "redis://"), "/0"))
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	setAndGet(t, open(t, "embedded:"+port))
}

func TestEmbeddedKeysExpire(t *testing.T) {
	conn := open(t, "embedded:0")
	const life = 300 * time.Millisecond
	for _, key := range []string{"short", "long"} {
		if err := conn.Client.Set(t.Context(), key, "v", life).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Client.Expire(t.Context(), "long", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key has expired", func() bool {
		n, err := conn.Client.Exists(t.Context(), "short").Result()
		return n == 0 && err == nil
	})
	left, err := conn.Client.PTTL(t.Context(), "long").Result()
	if err != nil || left > time.Hour-life/2 || left < time.Hour-time.Minute {
		t.Errorf("the other one has %v left (%v)", left, err)
	}
}

// asynq, which all jobs pass through, works on an embedded server.
func TestEmbeddedRunsAsynq(t *testing.T) {
	conn := open(t, "embedded:0")
	server := asynq.NewServerFromRedisClient(conn.Client, asynq.Config{
		TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond,
		LogLevel:       asynq.FatalLevel,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 },
	})
	done := make(chan string, 3)
	var failed atomic.Bool
	handler := asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		if task.Type() == "fails:once" && !failed.Swap(true) {
			return errors.New("once")
		}
		done <- task.Type() + " " + string(task.Payload())
		return nil
	})
	if err := server.Start(handler); err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	client := asynq.NewClientFromRedisClient(conn.Client)
	for _, task := range []*asynq.Task{
		asynq.NewTask("now", []byte("a")),
		asynq.NewTask("later", []byte("b"), asynq.ProcessIn(time.Second)),
		asynq.NewTask("fails:once", []byte("c"), asynq.MaxRetry(3)),
	} {
		if _, err := client.EnqueueContext(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]bool{}
	timeout := time.After(20 * time.Second)
	for len(got) < 3 {
		select {
		case task := <-done:
			got[task] = true
		case <-timeout:
			t.Fatalf("processed only %v", got)
		}
	}
	for _, want := range []string{"now a", "later b", "fails:once c"} {
		if !got[want] {
			t.Errorf("%q was not processed: %v", want, got)
		}
	}
}
