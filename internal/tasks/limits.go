package tasks

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"

	"crier/internal/apiclient"
	"crier/internal/chunker"
	"crier/internal/gate"
	"crier/internal/ledger"
)

// Limits are what one call to the Chat API may hold. Workers publish the ones
// in force in Redis, so that submitters cut jobs the way they will be sent.
type Limits struct {
	Form       apiclient.Form               `json:"form"`
	MaxBody    int                          `json:"max_body"`    // bytes of a request body
	MaxMessage int                          `json:"max_message"` // bytes of msg and ext
	MaxTargets map[apiclient.TargetType]int `json:"max_targets"` // targets of a call
}

// DefaultLimits returns the documented defaults of a form.
func DefaultLimits(form apiclient.Form) Limits {
	l := Limits{
		Form: form, MaxBody: 5120, MaxMessage: 4096,
		MaxTargets: map[apiclient.TargetType]int{apiclient.Users: 600, apiclient.ChatGroups: 600, apiclient.ChatRooms: 600},
	}
	if form == apiclient.FormSplit { // CHAT-API: "Limits"
		l.MaxTargets[apiclient.ChatGroups] = 3
		l.MaxTargets[apiclient.ChatRooms] = 10
	}
	return l
}

// Within lowers the targets of a call to what fits the windows of the quotas.
func (l Limits) Within(quotas gate.Quotas) Limits {
	lowered := make(map[apiclient.TargetType]int, len(l.MaxTargets))
	for t, n := range l.MaxTargets {
		lowered[t] = n
		if most := quotas.MaxTargets(string(t)); most > 0 {
			lowered[t] = min(n, most)
		}
	}
	l.MaxTargets = lowered
	return l
}

// Publish stores l as the limits in force.
func (l Limits) Publish(ctx context.Context, book *ledger.Ledger) error {
	text, err := json.Marshal(l, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("tasks: limits: %w", err)
	}
	return book.PublishLimits(ctx, text)
}

// LimitsInForce reads the limits that workers have published, or the defaults
// where none has yet.
func LimitsInForce(ctx context.Context, book *ledger.Ledger) (Limits, error) {
	limits := DefaultLimits(apiclient.FormUnified)
	text, err := book.Limits(ctx)
	if err != nil || text == nil {
		return limits, err
	}
	if err := json.Unmarshal(text, &limits); err != nil {
		return limits, fmt.Errorf("tasks: limits: %w", err)
	}
	return limits, nil
}

// campaign is what all calls of one job share: the constant part of the body
// and the limits within which batches are cut.
type campaign struct {
	targetType apiclient.TargetType
	head, tail []byte
	cut        chunker.Limits
}

// newCampaign prepares the calls of a document. A job's own cap on its rate
// bounds its batches too: a batch must fit into one second of it.
func newCampaign(d Document, l Limits) (campaign, error) {
	head, tail, err := d.Message.Envelope(l.Form)
	if err != nil {
		return campaign{}, err
	}
	c := campaign{
		targetType: d.Message.TargetType, head: head, tail: tail,
		cut: chunker.Limits{
			MaxTargets: l.MaxTargets[d.Message.TargetType], MaxBytes: l.MaxBody, Overhead: len(head) + len(tail),
		},
	}
	if d.Options.MaxRate > 0 {
		c.cut.MaxTargets = min(c.cut.MaxTargets, d.Options.MaxRate)
	}
	return c, c.cut.Validate()
}

// body encodes one call.
func (c *campaign) body(b chunker.Batch) []byte {
	body := make([]byte, 0, len(c.head)+b.Bytes+1+len(c.tail))
	body = append(body, c.head...)
	body = b.AppendList(body)
	return append(body, c.tail...)
}
