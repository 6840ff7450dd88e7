// Command enqueue hands send jobs to the workers and tells what became of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/redis/go-redis/v9"

	"crier/internal/gate"
	"crier/internal/ledger"
	"crier/internal/redisconn"
	"crier/internal/settings"
	"crier/internal/tasks"
)

// Exit codes beside those of settings.
const (
	exitNotAllSent  = 3   // with waiting: finished, but not every target was sent
	exitInterrupted = 130 // Ctrl-C
)

func main() { os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})) }

// streams are the standard ones, or a test's.
type streams struct {
	in  io.Reader
	out io.Writer
	err *os.File
}

// commands are what enqueue can do.
type commands struct {
	settings.Redis
	Version kong.VersionFlag `name:"version" help:"Show the version."`

	Send    sendCommand    `cmd:"" help:"Make a job of a message and its targets; prints the job's id."`
	Plan    planCommand    `cmd:"" help:"Tell what sending would take: targets, calls, bytes, time. Nothing is stored."`
	Status  statusCommand  `cmd:"" help:"Show where a job stands."`
	Wait    waitCommand    `cmd:"" help:"Wait until a job has ended."`
	List    listCommand    `cmd:"" help:"List jobs, the newest first."`
	Results resultsCommand `cmd:"" help:"List what became of each target."`
	Resend  resendCommand  `cmd:"" help:"Make a new job for those targets of a job that were not reached; prints its id."`
	Pause   pauseCommand   `cmd:"" help:"Let no more calls begin for a job, until it is resumed."`
	Resume  resumeCommand  `cmd:"" help:"Let a paused job go on."`
	Cancel  cancelCommand  `cmd:"" help:"End a job: what is not sent yet is cancelled."`
	Delete  deleteCommand  `cmd:"" help:"Remove the record of a job that has ended or is still scheduled."`

	Rejected rejectedCommand `cmd:"" help:"List raw queue payloads that were no valid jobs."`
	Serve    serveCommand    `cmd:"" help:"Serve the HTTP gateway, for backends in any language."`
}

// app is what commands work with.
type app struct {
	streams
	conn      *redisconn.Conn
	redis     redis.UniversalClient
	namespace string
	ledger    *ledger.Ledger
	gate      *gate.Gate
	queue     *tasks.Queue
}

// errNotAllSent ends a wait for a job that did not reach every target.
var errNotAllSent = errors.New("not every target was sent")

// usageError is about the input or the usage.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// run is the program; it returns the exit code.
func run(args []string, std streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends what does not heed the first, such as the opening of a named pipe
	var c commands
	parsed, done, err := settings.Parse(&c, args, std.out, kong.Name("enqueue"),
		kong.Description("Hands send jobs to the workers and tells what became of them. It needs only REDIS_URL and NAMESPACE, and CHAT_* for --attach."),
		kong.BindTo(ctx, (*context.Context)(nil)))
	if done {
		return settings.ExitOK
	}
	var a app
	if err == nil {
		a, err = open(c.Redis, std)
	} else {
		err = &usageError{err}
	}
	if err == nil {
		err = parsed.Run(&a)
	}
	return report(ctx, std.err, err)
}

// connections to Redis are made as they are needed: one for each request that is
// served, up to so many.
const connections = 100

// open makes what commands work with; it does not connect yet.
func open(r settings.Redis, std streams) (app, error) {
	var faults settings.Faults
	url, namespace := r.Read(&faults, redisconn.Parse)
	if err := faults.Err(); err != nil {
		return app{}, &usageError{err}
	}
	if strings.HasPrefix(url, "embedded") {
		return app{}, usage("REDIS_URL: the embedded Redis lives in the worker: give its address, redis://127.0.0.1:6379")
	}
	redisconn.SetLogger(slog.New(slog.DiscardHandler)) // commands return the same errors
	conn, err := redisconn.Open(url, redisconn.PoolSize(connections))
	if err != nil {
		return app{}, err
	}
	books, gates := ledger.DefaultConfig(), gate.DefaultConfig()
	books.Namespace, gates.Namespace = namespace, namespace
	book, err := ledger.New(conn.Client, books)
	if err != nil {
		return app{}, err
	}
	return app{
		streams: std, conn: conn, redis: conn.Client, namespace: namespace,
		ledger: book, gate: gate.New(conn.Client, gates), queue: tasks.NewQueue(conn.Client, namespace),
	}, nil
}

// input is standard input as a stream that breaks off when ctx ends: a read of
// a terminal or a pipe itself may wait for ever.
func (a *app) input(ctx context.Context) io.Reader {
	read, write := io.Pipe()
	context.AfterFunc(ctx, func() { _ = write.CloseWithError(ctx.Err()) }) // it never fails
	go func() {
		_, err := io.Copy(write, a.in)
		_ = write.CloseWithError(err) // as above; nil is the end
	}()
	return read
}

// report says what went wrong and returns the exit code for it.
func report(ctx context.Context, stderr io.Writer, err error) int {
	if err == nil {
		return settings.ExitOK
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "enqueue: interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "enqueue:", err)
	var wrong *usageError
	var document *tasks.InvalidError
	var syntax *tasks.SyntaxError
	var names *tasks.NamesError
	switch {
	case errors.Is(err, errNotAllSent):
		return exitNotAllSent
	case errors.As(err, &wrong), errors.As(err, &document), errors.As(err, &syntax), errors.As(err, &names),
		errors.Is(err, ledger.ErrConflict):
		return settings.ExitUsage
	default:
		return settings.ExitFail
	}
}
