package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	headTimeout = 10 * time.Second // for the head of a request
	keepAlive   = 2 * time.Minute  // between two requests
	maxHead     = 64 << 10         // bytes of a head
)

// Server serves a gateway on one address.
type Server struct {
	Handler         http.Handler
	Certificate     *Certificate // nil = without TLS
	ShutdownTimeout time.Duration
	Log             *slog.Logger
}

// Serve serves until ctx ends, then lets requests under way finish, for
// ShutdownTimeout at most. It closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: s.Handler, ReadHeaderTimeout: headTimeout, IdleTimeout: keepAlive, MaxHeaderBytes: maxHead,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), // clients that go, and do not speak TLS
	}
	serve := func() error { return server.Serve(listener) }
	if s.Certificate != nil {
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.Certificate.get}
		serve = func() error { return server.ServeTLS(listener, "", "") }
	}
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	select {
	case err := <-ended:
		return fmt.Errorf("gateway: %w", err)
	case <-ctx.Done():
	}
	s.Log.Info("draining: requests under way may finish", "within", s.ShutdownTimeout.String())
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		s.Log.Warn("requests were cut off, who made them has to repeat them", "error", err)
		_ = server.Close() // what is left of them
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

// Certificate is one for TLS, read again when its files have changed: so it can be
// renewed without a restart.
type Certificate struct {
	cert, key string // files
	log       *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  time.Time // of the newer file
	looked time.Time
}

// ReadCertificate reads a certificate and its key, in PEM form.
func ReadCertificate(cert, key string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, log: log}
	_, err := c.get(nil)
	return c, err
}

// get is for tls.Config. While new files cannot be read, the old certificate serves.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookEvery {
		return c.loaded, nil
	}
	c.looked = time.Now()
	stamp, err := newest(c.cert, c.key)
	if err == nil && stamp.Equal(c.stamp) {
		return c.loaded, nil
	}
	var fresh tls.Certificate
	if err == nil {
		fresh, err = tls.LoadX509KeyPair(c.cert, c.key)
	}
	switch {
	case err == nil:
		c.loaded, c.stamp = &fresh, stamp
	case c.loaded == nil:
		return nil, err
	default:
		c.log.Warn("the certificate cannot be read anew, the old one still serves", "error", err)
	}
	return c.loaded, nil
}

func newest(files ...string) (at time.Time, err error) {
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return at, err
		}
		if info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at, nil
}
