package chatsim

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// maxMessages is how many distinct messages are kept with their last body.
const maxMessages = 256

// Stats is what the simulator has seen since it started or was reset. A call
// is a POST to one of the message paths of the right org and app.
type Stats struct {
	Calls    int64 `json:"calls"`    // message calls, whatever became of them
	InFlight int   `json:"inflight"` // message calls being worked on now
	Peak     int   `json:"peak"`     // most message calls at the same time

	AcceptedCalls   int64                  `json:"accepted_calls"`
	AcceptedTargets int64                  `json:"accepted_targets"` // each time a target was accepted counts
	RefusedTargets  int64                  `json:"refused_targets"`  // of accepted calls: targets of Config.Refused
	Accepted        map[TargetType]Traffic `json:"accepted"`         // the accepted, by target type
	LostCalls       int64                  `json:"lost_calls"`       // accepted calls whose answer did not go out whole
	LostTargets     int64                  `json:"lost_targets"`     // those of accepted_targets that they named

	Statuses   map[int]int64       `json:"statuses"`   // answers by status, of every request but /_sim
	Unanswered int64               `json:"unanswered"` // requests that got a reset, a hang or left early
	Refused    map[string]int64    `json:"refused"`    // refusals by the rules, as "STATUS error-name" or "STATUS"
	Faults     map[FaultKind]int64 `json:"faults"`     // faults that struck; these are not in Refused
	Outages    int64               `json:"outages"`    // requests that met an outage

	TokenCalls   int64 `json:"token_calls"`   // requests to the token path
	TokensIssued int64 `json:"tokens_issued"` // those that were answered with a token

	Uploads int64 `json:"uploads"` // files that were taken, those forgotten since included

	LargestBody int `json:"largest_body"` // bytes of the largest body of a message call, refused ones included
	MostTargets int `json:"most_targets"` // most targets of one call, refused ones included

	FirstAccepted time.Time `json:"first_accepted,omitzero"`
	LastAccepted  time.Time `json:"last_accepted,omitzero"`
}

// Traffic counts accepted calls and the targets delivered to.
type Traffic struct {
	Calls   int64 `json:"calls"`
	Targets int64 `json:"targets"`
}

// Message is one distinct message: the same target type, type, sender, content
// and ext, byte for byte.
type Message struct {
	TargetType TargetType      `json:"target_type"`
	Type       string          `json:"type"`
	From       string          `json:"from,omitempty"`
	Msg        json.RawMessage `json:"msg"` // split form: the body
	Ext        json.RawMessage `json:"ext,omitempty"`
	LastBody   json.RawMessage `json:"last_body"` // the whole body of its last accepted call
	Calls      int64           `json:"calls"`
	Targets    int64           `json:"targets"`
}

// record is all that a reset forgets.
type record struct {
	journals map[TargetType]*journal // nil if there is no journal; never changed
	lost     map[TargetType]*journal // the same for what lost calls named

	mu       sync.Mutex
	stats    Stats
	messages map[uint64]*Message
	order    []*Message
	files    []File // oldest first; their bytes never change
}

func newRecord(withJournal bool) *record {
	r := &record{
		messages: make(map[uint64]*Message),
		stats: Stats{
			Accepted: make(map[TargetType]Traffic),
			Statuses: make(map[int]int64),
			Refused:  make(map[string]int64),
			Faults:   make(map[FaultKind]int64),
		},
	}
	if withJournal {
		r.journals, r.lost = make(map[TargetType]*journal), make(map[TargetType]*journal)
		for _, t := range targetTypes {
			r.journals[t], r.lost[t] = new(journal), new(journal)
		}
	}
	return r
}

// count changes the statistics.
func (r *record) count(change func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.stats)
}

// accept books an accepted call: the journal first, so that whoever sees the
// call in Stats finds its targets. targets that fate refuses are
// booked as refused only.
func (r *record) accept(req *request, body []byte, fates map[string]fate) {
	delivered := r.journals[req.targetType].addAll(req, fates)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.stats.FirstAccepted.IsZero() {
		r.stats.FirstAccepted = now
	}
	r.stats.LastAccepted = now
	r.stats.AcceptedCalls++
	r.stats.AcceptedTargets += int64(delivered)
	r.stats.RefusedTargets += int64(len(req.targets) - delivered)
	traffic := r.stats.Accepted[req.targetType]
	traffic.Calls++
	traffic.Targets += int64(delivered)
	r.stats.Accepted[req.targetType] = traffic
	r.remember(req, body, delivered)
}

// lose books that the answer to an accepted call was lost: spoilt by a fault,
// or the client had left before it.
func (r *record) lose(req *request, fates map[string]fate) {
	delivered := r.lost[req.targetType].addAll(req, fates)
	r.count(func(st *Stats) {
		st.LostCalls++
		st.LostTargets += int64(delivered)
	})
}

// remember books the message itself. It is called with mu held.
func (r *record) remember(req *request, body []byte, delivered int) {
	var digest xxhash.Digest
	digest.Reset()
	for _, part := range [][]byte{[]byte(req.targetType), []byte(req.kind), []byte(req.from), req.msg, req.ext} {
		_, _ = digest.Write(part)         // never fails
		_, _ = digest.Write([]byte{0x1f}) // so that no two parts run together
	}
	m := r.messages[digest.Sum64()]
	if m == nil {
		if len(r.order) == maxMessages {
			return
		}
		m = &Message{
			TargetType: req.targetType, Type: req.kind, From: req.from,
			Msg: slices.Clone(json.RawMessage(req.msg)), Ext: slices.Clone(json.RawMessage(req.ext)),
		}
		r.messages[digest.Sum64()] = m
		r.order = append(r.order, m)
	}
	m.LastBody = append(m.LastBody[:0], body...)
	m.Calls++
	m.Targets += int64(delivered)
}

// snapshot is a copy of the statistics that no later call changes.
func (r *record) snapshot() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	stats := r.stats
	stats.Accepted = maps.Clone(stats.Accepted)
	stats.Statuses = maps.Clone(stats.Statuses)
	stats.Refused = maps.Clone(stats.Refused)
	stats.Faults = maps.Clone(stats.Faults)
	return stats
}

// list copies the messages in the order of their first acceptance.
func (r *record) list() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	messages := make([]Message, len(r.order))
	for i, m := range r.order {
		messages[i] = *m
		messages[i].LastBody = slices.Clone(m.LastBody) // the only part that is written over
	}
	return messages
}
