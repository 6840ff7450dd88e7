package ledger

import "time"

// Spec is what a job is made of, besides its targets.
type Spec struct {
	ID         string
	Name       string // free text for people, may be empty
	TargetType string
	Urgent     bool
	Weight     int // share among running bulk jobs; 0 counts as 1
	Hold       bool
	MaxRate    int       // targets per second, 0 = no cap
	SendAt     time.Time // zero = at once
	ExpiresAt  time.Time // zero = never
	ResendOf   string    // id of the job whose targets are sent again, or ""
	Document   []byte    // canonical JSON of all but id and targets: stored, and part of the fingerprint
}

// Priority returns the word for it: "urgent" or "bulk".
func (s Spec) Priority() string {
	if s.Urgent {
		return "urgent"
	}
	return "bulk"
}

// fields are pairs of job field and value. What is as usual goes without saying.
func (s Spec) fields() (pairs []any) {
	add := func(said bool, name string, value any) {
		if said {
			pairs = append(pairs, name, value)
		}
	}
	add(!s.SendAt.IsZero(), "send_at", s.SendAt.UnixMilli())
	add(!s.ExpiresAt.IsZero(), "expires_at", s.ExpiresAt.UnixMilli())
	add(s.MaxRate > 0, "max_rate", s.MaxRate)
	add(s.TargetType != commonType, "type", s.TargetType)
	add(s.Urgent, "urgent", 1)
	add(s.Weight > 1, "weight", s.Weight)
	add(s.Hold, "hold", 1)
	add(s.Name != "", "name", s.Name)
	add(s.ResendOf != "", "resend_of", s.ResendOf)
	return pairs
}
