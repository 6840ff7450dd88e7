package tasks

import (
	"context"
	"fmt"
	"maps"

	"github.com/go-json-experiment/json"

	"crier/internal/apiclient"
	"crier/internal/chunker"
	"crier/internal/gate"
	"crier/internal/ledger"
	"crier/internal/targets"
)

// Limits are what one call to the Chat API may hold. Workers publish the ones
// in force in Redis, so that submitters cut jobs the way they will be sent.
type Limits struct {
	Form       apiclient.Form               `json:"form"`
	MaxBody    int                          `json:"max_body"`    // bytes of a request body
	MaxMessage int                          `json:"max_message"` // bytes of msg and ext
	MaxTargets map[apiclient.TargetType]int `json:"max_targets"` // targets of a call
	Quota      string                       `json:"quota"`       // CHAT_QUOTA, "" = not published

	published bool           // by a worker: else they are the defaults
	learned   ledger.Learned // by what they were lowered
	given     int            // MaxBody before it was; 0 = it was not
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

// quotas returns what CHAT_QUOTA says; without any that was published, nothing.
func (l Limits) quotas() (gate.Quotas, error) {
	if l.Quota == "" {
		return nil, nil
	}
	var types []string
	for _, t := range apiclient.TargetTypes() {
		types = append(types, string(t))
	}
	quotas, err := gate.ParseQuotas(l.Quota, types...)
	if err != nil {
		return nil, fmt.Errorf("tasks: quota in force: %w", err)
	}
	return quotas, nil
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
// where none has yet, and lowers them to what the API has told the fleet.
func LimitsInForce(ctx context.Context, book *ledger.Ledger) (Limits, error) {
	limits := DefaultLimits(apiclient.FormUnified)
	text, learned, err := book.Limits(ctx)
	if err != nil {
		return limits, err
	}
	if text != nil {
		if err := json.Unmarshal(text, &limits); err != nil {
			return limits, fmt.Errorf("tasks: limits: %w", err)
		}
		limits.published = true
	}
	return limits.lowered(learned), nil
}

// lowered returns the limits within what has been learned.
func (l Limits) lowered(learned ledger.Learned) Limits {
	l.learned, l.MaxTargets = learned, maps.Clone(l.MaxTargets)
	for t, n := range l.MaxTargets {
		if most := learned.MaxTargets[string(t)]; most > 0 {
			l.MaxTargets[t] = min(n, most)
		}
	}
	if learned.Refused > 0 && learned.Refused <= l.MaxBody && learned.Accepted > 0 {
		l.given, l.MaxBody = l.MaxBody, learned.Accepted
	}
	return l
}

// trial is the size of a body that tries whether the API takes more than
// MaxBody, 0 where that is known to within some bytes.
func (l Limits) trial() int {
	const near = 64
	if l.given == 0 || l.learned.Refused-l.MaxBody <= near {
		return 0
	}
	return (l.MaxBody + l.learned.Refused) / 2
}

// campaign is what all calls of one job share: the constant part of the body
// and the limits within which batches are cut.
type campaign struct {
	limits     *Limits // within which it was prepared
	targetType apiclient.TargetType
	head, tail []byte
	cut        chunker.Limits
	trial      int // bytes of the next body, above the limit of all others; 0 = none is to be tried
}

// newCampaign prepares the calls of a document. A job's own cap on its rate
// bounds its batches too: a batch must fit into one second of it.
func newCampaign(d Document, limits *Limits) (campaign, error) {
	l := *limits
	head, tail, err := d.Message.Envelope(l.Form)
	if err != nil {
		return campaign{}, err
	}
	if one := len(head) + len(tail) + len(`""`) + targets.MaxBytes; l.MaxBody < one {
		l.MaxBody = max(l.MaxBody, min(one, l.given)) // what was learned from others must not stop this message
	}
	c := campaign{
		limits: limits, trial: l.trial(), targetType: d.Message.TargetType, head: head, tail: tail,
		cut: chunker.Limits{
			MaxTargets: l.MaxTargets[d.Message.TargetType], MaxBytes: l.MaxBody, Overhead: len(head) + len(tail),
		},
	}
	if d.Options.MaxRate > 0 {
		c.cut.MaxTargets = min(c.cut.MaxTargets, d.Options.MaxRate)
	}
	return c, c.cut.Validate()
}

// appendBody encodes one call.
func (c *campaign) appendBody(dst []byte, b chunker.Batch) []byte {
	dst = append(dst, c.head...)
	dst = b.AppendList(dst)
	return append(dst, c.tail...)
}
