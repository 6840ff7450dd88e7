// Command worker delivers send jobs: it takes them from Redis, cuts them into
// batches, posts each to the Chat API and records what became of every target.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"crier/internal/gate"
	"crier/internal/ledger"
	"crier/internal/redisconn"
	"crier/internal/settings"
	"crier/internal/tasks"
)

func main() {
	coarseTimers()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program; it returns the exit code.
func run(args []string, stdout io.Writer, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var f flags
	_, done, err := settings.Parse(&f, args, stdout, about()...)
	if done {
		return settings.ExitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "worker:", err)
		return settings.ExitUsage
	}
	c, log, err := f.read(stderr)
	if err != nil {
		fmt.Fprintf(stderr, "worker: nothing was started:\n%v\n", err)
		return settings.ExitUsage
	}
	settings.TakeOver(log)
	if err := work(ctx, c, log); err != nil {
		log.Error("the worker ends", "error", err)
		var usage *usageError
		if errors.As(err, &usage) {
			return settings.ExitUsage
		}
		return settings.ExitFail
	}
	return settings.ExitOK
}

// usageError is a setting that turned out to be wrong only when it was used.
type usageError struct {
	variable string
	err      error
}

func (e *usageError) Error() string { return e.variable + ": " + e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// work runs the parts in the order in which they need each other.
func work(ctx context.Context, c config, log *slog.Logger) error {
	redisconn.SetLogger(log)
	conn, err := redisconn.Open(c.redisURL, redisconn.PoolSize(c.connections()))
	if err != nil {
		return &usageError{"REDIS_URL", err}
	}
	defer func() { _ = conn.Close() }()

	book, err := ledger.New(conn.Client, c.ledger)
	if err != nil {
		return err
	}
	gates := gate.New(conn.Client, c.gate)
	registry := tasks.NewRegistry(settings.Version())
	metrics := tasks.NewMetrics(registry, c.chat.Form)
	registry.MustRegister(conn.Metrics(), tasks.NewFleet(tasks.FleetParts{
		Ledger: book, Gate: gates, Queue: tasks.NewQueue(conn.Client, c.tasks.Namespace), Log: log,
	}))

	health := &health{conn: conn, gate: gates, draining: ctx}
	if c.adminAddr != "" {
		admin, err := startAdmin(adminConfig{
			addr: c.adminAddr, namespace: c.tasks.Namespace, profiles: c.profiles,
			registry: registry, redis: conn.Client, health: health, log: log,
		})
		if err != nil {
			return &usageError{"ADMIN_ADDR", err}
		}
		defer admin.stop()
	}
	facts, err := awaitRedis(ctx, conn, log)
	if err != nil || ctx.Err() != nil {
		return err
	}
	chat := &chatAPI{config: c, redis: conn.Client, log: log}
	client, err := chat.newClient(metrics)
	if err != nil {
		return err
	}
	w := tasks.NewWorker(c.tasks, tasks.Parts{
		Redis: conn.Client, RedisUptime: facts.Uptime, Ledger: book, Gate: gates, Metrics: metrics, Client: client, Log: log,
	})
	if err := prepare(ctx, w, health, log); err != nil || ctx.Err() != nil {
		return err
	}
	health.startedWith(w.Unheard)
	chat.begin(ctx, gates)
	return w.Run(ctx)
}

// awaitRedis waits until Redis answers, however long, and says what it finds.
func awaitRedis(ctx context.Context, conn *redisconn.Conn, log *slog.Logger) (redisconn.Facts, error) {
	var said time.Time
	for {
		facts, err := conn.Check(ctx)
		var old *redisconn.TooOldError
		switch {
		case errors.As(err, &old):
			return facts, &usageError{"REDIS_URL", err}
		case err == nil:
			if facts.Embedded {
				log.Warn("the embedded Redis keeps nothing: all jobs are gone when this process ends", "addr", conn.Addr())
			}
			if facts.MayEvict {
				log.Warn("Redis may evict keys when its memory is full, and jobs would be lost: set maxmemory-policy noeviction",
					"policy", facts.MaxMemoryPolicy)
			}
			log.Info("Redis answers", "addr", conn.Addr(), "version", facts.Version, "appendonly", facts.AppendOnly)
			return facts, nil
		case ctx.Err() != nil:
			return facts, nil //nolint:nilerr // told to end while it waited: that is no fault
		case time.Since(said) > 10*time.Second:
			log.Warn("waiting for Redis", "addr", conn.Addr(), "error", err)
			said = time.Now()
		}
		pause(ctx, 500*time.Millisecond)
	}
}

// prepare repeats Worker.Prepare until Redis has answered it.
func prepare(ctx context.Context, w *tasks.Worker, h *health, log *slog.Logger) error {
	for {
		err := w.Prepare(ctx)
		if errors.Is(err, tasks.ErrForeign) {
			return &usageError{"NAMESPACE", err}
		}
		if err == nil || ctx.Err() != nil {
			return nil //nolint:nilerr // as in awaitRedis
		}
		h.stuck.Store(&err)
		log.Warn("the worker cannot prepare", "error", err)
		pause(ctx, time.Second)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
