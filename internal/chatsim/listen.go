package chatsim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// listening is the network side of a Server.
type listening struct {
	mu   sync.Mutex
	addr string       // empty before Start
	http *http.Server // nil while not listening
}

// CheckLoopback reports an address (host:port) that anybody but this machine
// could reach. The simulator has no business there, unless Config.AnyAddress
// says so: /_sim/ asks nobody who they are.
func CheckLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q is not host:port", addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen address %q is not a loopback address", addr)
	}
	return nil
}

// Start listens on addr, a loopback address (see Config.AnyAddress) whose port
// may be 0, and returns the base URL. End it with Close or Shutdown.
func (s *Server) Start(addr string) (url string, err error) {
	if err := CheckLoopback(addr); err != nil && !s.cfg.AnyAddress {
		return "", fmt.Errorf("chatsim: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addr != "" {
		return "", errors.New("chatsim: started already")
	}
	if err := s.listen(addr); err != nil {
		return "", err
	}
	return "http://" + s.addr, nil
}

// StopListening drops all connections and refuses new ones, until
// ResumeListening. What calls under way were accepted stays accepted.
func (s *Server) StopListening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		_ = s.http.Close() // the listener is gone even if it could not be closed in order
		s.http = nil
	}
}

// ResumeListening listens again on the address of Start. It fails if somebody
// else has taken the port meanwhile.
func (s *Server) ResumeListening() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addr == "" || s.http != nil {
		return errors.New("chatsim: not stopped")
	}
	return s.listen(s.addr)
}

// listen is called with mu held.
func (s *Server) listen(addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("chatsim: %w", err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	s.addr, s.http = listener.Addr().String(), server
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("chatsim: listening ended", "error", err)
		}
	}()
	return nil
}

// Shutdown stops listening and lets calls under way finish until ctx ends.
// Calls that a fault delays or hangs end at once, without an answer.
func (s *Server) Shutdown(ctx context.Context) error {
	s.closeOnce.Do(func() { close(s.closed) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		return nil
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
		err = fmt.Errorf("chatsim: shutdown: %w", err)
	}
	s.http = nil
	return err
}

// Close stops listening and drops all connections. The counts can still be
// read afterwards.
func (s *Server) Close() {
	s.closeOnce.Do(func() { close(s.closed) })
	s.StopListening()
}
