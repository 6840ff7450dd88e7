package chatsim

import (
	"fmt"
	"iter"
	"net/http"
	"sync"
	"sync/atomic"
)

// Outage says that no request is served at all, the token path included.
type Outage string

// The outages of [Server.SetOutage]. For connections that are refused see
// [Server.StopListening].
const (
	OutageNone        Outage = "off"
	OutageUnavailable Outage = "unavailable" // 503, empty body
	OutageReset       Outage = "reset"       // connections are reset
)

// Server is the simulated API, an http.Handler that is safe for concurrent
// use. Serve it with [Server.Start], or by other means.
type Server struct {
	cfg     Config
	fates   map[string]fate
	control http.Handler
	tokens  *tokenDesk
	quota   quotaGate
	scratch sync.Pool
	listening

	record   atomic.Pointer[record]
	faults   atomic.Pointer[[]Fault]
	outage   atomic.Pointer[Outage]
	calls    atomic.Uint64 // message calls since the start or the last reset
	uploads  atomic.Uint64 // the same for uploads
	ids      atomic.Int64  // the last id given out, of a message or a file
	inFlight atomic.Int64

	closed    chan struct{} // ends what faults draw out: hangs and delays
	closeOnce sync.Once
}

// fate is what the configuration has in store for a target.
type fate int

const (
	fateNone fate = iota
	fateMissing
	fateRefused
	fatePoison
)

// firstID lies just below 10^18, so that both lengths of message ids occur:
// 18 digits for the first ten thousand targets, 19 from then on.
const firstID = 999_999_999_999_990_000

// New makes a simulator, or reports every fault of the configuration.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("chatsim: %w", err)
	}
	s := &Server{
		cfg:    cfg,
		fates:  make(map[string]fate),
		tokens: newTokenDesk(Secrets{cfg.Token, cfg.ClientID, cfg.ClientSecret}, cfg.Seed),
		closed: make(chan struct{}),
	}
	for _, names := range []struct {
		fate fate
		list []string
	}{{fateMissing, cfg.Missing}, {fateRefused, cfg.Refused}, {fatePoison, cfg.Poison}} {
		for _, name := range names.list {
			s.fates[name] = names.fate
		}
	}
	s.scratch.New = func() any { return &scratch{seen: make(map[string]struct{})} }
	s.ids.Store(firstID)
	s.record.Store(newRecord(!cfg.NoJournal))
	s.faults.Store(&cfg.Faults)
	s.SetOutage(OutageNone)
	s.quota.setQuotas(cfg.Quotas)
	s.control = s.controlRoutes()
	return s, nil
}

// SetFaults puts other faults in force for the calls that begin from now on.
func (s *Server) SetFaults(faults []Fault) error {
	if err := ValidateFaults(faults); err != nil {
		return fmt.Errorf("chatsim: %w", err)
	}
	s.faults.Store(&faults)
	return nil
}

// SetQuotas puts other quotas in force; their windows begin empty.
func (s *Server) SetQuotas(quotas Quotas) error {
	if err := quotas.Validate(); err != nil {
		return fmt.Errorf("chatsim: %w", err)
	}
	s.quota.setQuotas(quotas)
	return nil
}

// SetOutage begins or ends an outage. Requests under way go on.
func (s *Server) SetOutage(outage Outage) { s.outage.Store(&outage) }

// SetSecrets changes what a sender has to know. revoke also kills every token
// fetched so far; without it they live on.
func (s *Server) SetSecrets(secrets Secrets, revoke bool) { s.tokens.change(secrets, revoke) }

// Reset forgets all that was counted: journal, messages, files, statistics,
// quota windows, the plan, and the place in the sequence of faults. Faults,
// quotas, outage, secrets and tokens stay. A call under way counts for the time
// before.
func (s *Server) Reset() {
	s.record.Store(newRecord(!s.cfg.NoJournal))
	s.calls.Store(0)
	s.uploads.Store(0)
	s.quota.reset()
}

// Stats is a snapshot of what the simulator has seen.
func (s *Server) Stats() Stats {
	stats := s.record.Load().snapshot()
	stats.InFlight = int(s.inFlight.Load())
	return stats
}

// Journal lists every target that was accepted and how often, each once, in no
// particular order. Calls may go on meanwhile; a reset does not disturb it. It
// is empty with Config.NoJournal.
func (s *Server) Journal() iter.Seq2[Key, int] {
	journals := s.record.Load().journals
	return func(yield func(Key, int) bool) {
		for _, targetType := range targetTypes {
			if journals[targetType] == nil {
				return
			}
			for name, count := range journals[targetType].all() {
				if !yield(Key{targetType, name}, count) {
					return
				}
			}
		}
	}
}

// Delivered is how often a target was accepted, under exactly that name: 0
// for one that was not, and always with Config.NoJournal.
func (s *Server) Delivered(targetType TargetType, name string) int {
	if journal := s.record.Load().journals[targetType]; journal != nil {
		return journal.count(name)
	}
	return 0
}

// Lost is how often of these times the answer did not go out whole: it was
// spoilt by a fault, or the client had left before. A client that leaves while
// it is written, or does not read it, goes unnoticed.
func (s *Server) Lost(targetType TargetType, name string) int {
	if journal := s.record.Load().lost[targetType]; journal != nil {
		return journal.count(name)
	}
	return 0
}

// Messages lists the first 256 distinct messages that were accepted, oldest
// first.
func (s *Server) Messages() []Message { return s.record.Load().list() }

// Files lists copies of the uploaded files that are still kept, at most
// Config.MaxFiles, oldest first.
func (s *Server) Files() []File { return s.record.Load().listFiles() }
