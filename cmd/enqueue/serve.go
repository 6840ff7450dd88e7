package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"

	"crier/internal/apiclient"
	"crier/internal/gateway"
	"crier/internal/redisconn"
	"crier/internal/settings"
	"crier/internal/tasks"
)

type serveCommand struct {
	Listen      string `name:"listen" env:"ENQUEUE_LISTEN" default:"127.0.0.1:8080" help:"Address to serve on. Without API keys it must be this machine's own, such as 127.0.0.1."`
	APIKeys     string `name:"api-keys" env:"ENQUEUE_API_KEYS" hidden:"" help:"Keys that clients may show, comma separated."`
	APIKeysFile string `name:"api-keys-file" env:"ENQUEUE_API_KEYS_FILE" help:"File that holds ENQUEUE_API_KEYS, one a line or comma separated; read again when it changes."`
	TLSCert     string `name:"tls-cert" env:"ENQUEUE_TLS_CERT" placeholder:"FILE" help:"Certificate for TLS in PEM form; read again when it changes."`
	TLSKey      string `name:"tls-key" env:"ENQUEUE_TLS_KEY" placeholder:"FILE" help:"Its key."`

	MaxTargets      string `name:"max-targets" env:"ENQUEUE_MAX_TARGETS" default:"20000000" help:"Targets that one job may have."`
	MaxMemory       string `name:"max-memory" env:"ENQUEUE_MAX_MEMORY" default:"90" help:"Percent of Redis's maxmemory from which on new jobs are refused (503)."`
	MaxLatency      string `name:"max-latency" env:"ENQUEUE_MAX_LATENCY" default:"500ms" help:"Time of Redis's answers from which on new jobs are refused (503)."`
	IdleTimeout     string `name:"idle-timeout" env:"ENQUEUE_IDLE_TIMEOUT" default:"30s" help:"Time in which a client must send or take something."`
	ShutdownTimeout string `name:"shutdown-timeout" env:"SHUTDOWN_TIMEOUT" default:"30s" help:"Time for requests under way to finish after SIGTERM."`

	settings.Chat `group:"The Chat API, for POST /v1/files alone:"`
	settings.Log
}

// Run serves the HTTP gateway until it is told to end.
func (c *serveCommand) Run(ctx context.Context, a *app) error {
	var faults settings.Faults
	log := c.Logger(&faults, a.err)
	cfg := c.read(&faults)
	addr := faults.Addr("ENQUEUE_LISTEN", c.Listen)
	shutdown := faults.Duration("SHUTDOWN_TIMEOUT", c.ShutdownTimeout, time.Second, time.Hour)
	keys := c.keys(&faults, log)
	if keys == nil && faults.Err() == nil && !gateway.OnlyLocal(addr) {
		faults.Add("ENQUEUE_API_KEYS", "is required to serve on %s: without keys only 127.0.0.1, [::1] or localhost will do", addr)
	}
	certificate := c.certificate(&faults, log)
	if err := faults.Err(); err != nil {
		return &usageError{err}
	}
	settings.TakeOver(log)
	redisconn.SetLogger(log)
	registry := tasks.NewRegistry(settings.Version())
	registry.MustRegister(a.conn.Metrics(), tasks.NewFleet(tasks.FleetParts{Ledger: a.ledger, Gate: a.gate, Queue: a.queue, Log: log}))
	files, err := c.files(a, tasks.NewMetrics(registry, apiclient.FormUnified), log)
	if err != nil {
		return err
	}
	if files != nil {
		defer files.Client.Close()
	}
	listener, err := listen(addr, keys == nil)
	if err != nil {
		return err
	}
	if local := gateway.OnlyLocal(listener.Addr().String()); certificate == nil && !local {
		log.Warn("API keys and targets cross the network unencrypted, unless a proxy before this one speaks TLS: set ENQUEUE_TLS_CERT and ENQUEUE_TLS_KEY")
	}
	g := gateway.New(ctx, cfg, gateway.Parts{
		Ledger: a.ledger, Queue: a.queue, Gate: a.gate, Keys: keys, Files: files, Registry: registry, Log: log,
		Trouble: a.conn.Trouble,
		Probe: func(ctx context.Context) (float64, error) {
			facts, err := a.conn.Check(ctx)
			return facts.MemoryShare, err
		},
	})
	go g.Watch(ctx)
	scheme := "http"
	if certificate != nil {
		scheme = "https"
	}
	log.Info("the gateway serves", "url", scheme+"://"+listener.Addr().String(), "redis", a.conn.Addr(), "keys", keys.Count(), "files", files != nil)
	server := &gateway.Server{Handler: g, Certificate: certificate, ShutdownTimeout: shutdown, Log: log}
	return server.Serve(ctx, listener)
}

// listen opens the address, which may have to be one of this machine alone,
// whatever its name says.
func listen(addr string, local bool) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, err // by somebody who may be gone soon
	case err != nil:
		return nil, usage("ENQUEUE_LISTEN: %w", err)
	case local && !gateway.OnlyLocal(listener.Addr().String()):
		_ = listener.Close() // nobody was served
		return nil, usage("ENQUEUE_API_KEYS: is required to serve on %s, which others can reach", listener.Addr())
	}
	return listener, nil
}

func (c *serveCommand) read(faults *settings.Faults) gateway.Config {
	cfg := gateway.DefaultConfig()
	cfg.Version = settings.Version()
	cfg.MaxTargets = faults.Int("ENQUEUE_MAX_TARGETS", c.MaxTargets, 1, 1_000_000_000)
	cfg.IdleTimeout = faults.Duration("ENQUEUE_IDLE_TIMEOUT", c.IdleTimeout, time.Second, time.Hour)
	cfg.Pressure.MemoryShare = float64(faults.Int("ENQUEUE_MAX_MEMORY", c.MaxMemory, 1, 100)) / 100
	cfg.Pressure.Latency = faults.Duration("ENQUEUE_MAX_LATENCY", c.MaxLatency, 10*time.Millisecond, time.Minute)
	return cfg
}

// keys reads the API keys; nil = there are none.
func (c *serveCommand) keys(faults *settings.Faults, log *slog.Logger) *gateway.Keys {
	var keys *gateway.Keys
	var err error
	switch {
	case c.APIKeys != "" && c.APIKeysFile != "":
		faults.Add("ENQUEUE_API_KEYS", "is given both itself and by ENQUEUE_API_KEYS_FILE")
	case c.APIKeys != "":
		keys, err = gateway.ParseKeys(c.APIKeys)
		faults.AddError("ENQUEUE_API_KEYS", err)
	case c.APIKeysFile != "":
		keys, err = gateway.ReadKeys(c.APIKeysFile, log)
		faults.AddError("ENQUEUE_API_KEYS_FILE", err)
	}
	if err != nil {
		return nil
	}
	return keys
}

func (c *serveCommand) certificate(faults *settings.Faults, log *slog.Logger) *gateway.Certificate {
	switch {
	case c.TLSCert == "" && c.TLSKey == "":
		return nil
	case c.TLSCert == "":
		faults.Add("ENQUEUE_TLS_CERT", "is required beside ENQUEUE_TLS_KEY")
		return nil
	case c.TLSKey == "":
		faults.Add("ENQUEUE_TLS_KEY", "is required beside ENQUEUE_TLS_CERT")
		return nil
	}
	certificate, err := gateway.ReadCertificate(c.TLSCert, c.TLSKey, log)
	faults.AddError("ENQUEUE_TLS_CERT", err)
	return certificate
}

// files returns what uploads files; nil = nothing says who we are to the Chat API.
func (c *serveCommand) files(a *app, metrics *tasks.Metrics, log *slog.Logger) (*tasks.Attachments, error) {
	if c.ChatToken+c.ChatTokenFile+c.ChatClientID+c.ChatClientSecret+c.ChatClientSecretFile == "" {
		return nil, nil
	}
	return a.newUploader(c.Chat, metrics.Observe, log)
}
