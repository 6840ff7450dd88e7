package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/klauspost/compress/gzip"

	"crier/internal/gate"
	"crier/internal/gateway"
	"crier/internal/ledger"
	"crier/internal/tasks"
)

// gatewayCommand is the yardstick of the gateway: the same handler and the same
// server as in enqueue serve, put together in the same way, with the Redis in
// memory. Beside it stand pathRead, which only reads a body, and pathAsks.
type gatewayCommand struct {
	Listen string `required:"" help:"Address to serve on."`
}

// Paths of the yardstick's own.
const (
	pathRead = "/bench/read" // reads the body, unpacks it, and answers 202
	pathAsks = "/bench/asks" // tells what the Redis in memory was asked
)

const (
	gatewayReady = "the gateway serves" // what both servers say when they do
	apiKey       = "key-of-the-benchmark"
)

// Run serves until it is told to end.
func (c *gatewayCommand) Run(ctx context.Context, std stdio) error {
	log := slog.New(slog.NewJSONHandler(std.err, nil))
	handler, err := yardstick(ctx, log)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	log.Info(gatewayReady, "address", listener.Addr().String())
	server := &gateway.Server{Handler: handler, ShutdownTimeout: 30 * time.Second, Log: log}
	return server.Serve(ctx, listener)
}

func yardstick(ctx context.Context, log *slog.Logger) (http.Handler, error) {
	m, client := newMemory()
	keys, err := gateway.ParseKeys(apiKey)
	if err != nil {
		return nil, err
	}
	book, err := ledger.New(client, ledger.DefaultConfig())
	if err != nil {
		return nil, err
	}
	g := gateway.New(ctx, gateway.DefaultConfig(), gateway.Parts{
		Ledger: book, Queue: tasks.NewQueue(client, ledger.DefaultConfig().Namespace), Gate: gate.New(client, gate.DefaultConfig()),
		Keys: keys, Registry: tasks.NewRegistry("bench"), Log: log,
		Probe:   func(context.Context) (float64, error) { return 0, nil },
		Trouble: error.Error,
	})
	go g.Watch(ctx)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case pathRead:
			readBody(w, r)
		case pathAsks:
			_ = json.MarshalWrite(w, m.asks()) // who has gone does not count
		default:
			g.ServeHTTP(w, r)
		}
	}), nil
}

// readBody is the least that can be done with a body.
func readBody(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	var err error
	if r.Header.Get("Content-Encoding") == encodingGzip {
		body, err = gzip.NewReader(body)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}
