package chatsim

import (
	"errors"
	"fmt"
	"time"
)

// TargetType is the vendor's word for what a message is sent to.
type TargetType string

// The target types of the vendor page.
const (
	Users  TargetType = "users"
	Groups TargetType = "chatgroups"
	Rooms  TargetType = "chatrooms"
)

// targetTypes lists every type in the order of the journal's tables.
var targetTypes = [...]TargetType{Users, Groups, Rooms}

func (t TargetType) known() bool { return t == Users || t == Groups || t == Rooms }

// maxBodyCeiling bounds Config.MaxBody and Config.MaxFile, in bytes: larger
// requests would say nothing about an API whose own limits are 5 kB and 10 MB.
const maxBodyCeiling = 64 << 20

// Config says which app the simulator plays, what it allows and how it
// misbehaves. Start from [DefaultConfig]; the zero Config is not valid.
type Config struct {
	// Org and App are the {org_name} and {app_name} parts of every path.
	Org, App string

	// Token is a bearer token that is always accepted. Empty: there is none,
	// and tokens must be fetched.
	Token string
	// ClientID and ClientSecret are what POST .../token wants to see. Both
	// empty: no token can be fetched.
	ClientID, ClientSecret string
	// TokenTTL is how long a fetched token lives, at least a second. A shorter
	// `ttl` in the request wins.
	TokenTTL time.Duration
	// TokenCalls is the number of message calls and uploads after which a
	// fetched token dies, whatever its expires_in said. 0 = it never dies early.
	TokenCalls int

	// MaxBody is the largest request body in bytes; a larger one answers 413
	// (vendor page: 5 kB).
	MaxBody int
	// MaxMessage is the largest message in bytes: msg (split form: body) and
	// ext, as encoded in the request (vendor page: 4 kB).
	MaxMessage int
	// MaxUsers, MaxGroups and MaxRooms are the targets of one call (vendor
	// page: 600; CHAT-API, split form: 600, 3 and 10).
	MaxUsers, MaxGroups, MaxRooms int
	// MaxFile is the largest uploaded file in bytes; a larger one answers 413
	// (CHAT-API: 10 MB).
	MaxFile int
	// MaxFiles is how many uploaded files are kept, at least one; the oldest
	// is forgotten for the next. All of them are in memory.
	MaxFiles int

	// Quotas are the limits per target type. None = as many calls as come.
	Quotas Quotas
	// PlanCalls is the number of calls accepted before every further one
	// answers 429 resource_limited. 0 = the plan has no end.
	PlanCalls int
	// OldWording has a target quota refused with the older text "Forbidden
	// for url" instead of "message send reach limit" (CHAT-API).
	OldWording bool

	// Latency is the time between request and answer, and LatencyJitter the
	// most that is added to it at random. Half of it passes before a call is
	// examined and half after, like the way there and the way back: a client
	// that leaves in the first half has sent nothing.
	Latency, LatencyJitter time.Duration
	// Faults are what goes wrong with message calls and uploads, and how often.
	Faults []Fault

	// Poison names targets that make their whole call answer 400.
	Poison []string
	// Refused names targets whose value in a 200 is a failure text; they are
	// not delivered to.
	Refused []string
	// Missing names targets that are delivered to but left out of the answer.
	Missing []string
	// LowerCaseNames has user names come back in lower case (CHAT-API).
	LowerCaseNames bool

	// AnyAddress has Start take addresses that others than this machine can
	// reach, such as those of a private network of containers.
	AnyAddress bool
	// NoJournal switches the count per target off; Stats still counts.
	NoJournal bool
	// Seed decides all that is random: with the same seed, the n-th message
	// call meets the same fault, jitter and order of names, and the n-th upload
	// the same fault and jitter.
	Seed int64
}

// DefaultConfig is the vendor's documented unified form without quotas or
// faults, for the org and app of the vendor page's samples.
func DefaultConfig() Config {
	return Config{
		Org:          "chat-demo",
		App:          "testapp",
		Token:        "demo-token",
		ClientID:     "demo-client",
		ClientSecret: "demo-secret",
		TokenTTL:     24 * time.Hour,
		MaxBody:      5120,
		MaxMessage:   4096,
		MaxUsers:     600,
		MaxGroups:    600,
		MaxRooms:     600,
		MaxFile:      10 << 20,
		MaxFiles:     100,
	}
}

// Validate reports every fault of the configuration at once.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, part := range []struct{ name, value string }{{"org", c.Org}, {"app", c.App}} {
		need(validPathPart(part.value), "%s must be letters, digits, '-', '_' or '.', but is %q", part.name, part.value)
	}
	need((c.ClientID == "") == (c.ClientSecret == ""), "client id and client secret belong together")
	need(c.Token != "" || c.ClientID != "", "a token or a client id and secret is needed, or no call can be made")
	need(c.TokenTTL >= time.Second, "token TTL must be at least 1s, but is %v", c.TokenTTL)
	need(c.MaxBody >= 1 && c.MaxBody <= maxBodyCeiling, "max body must be 1 to %d bytes, but is %d", maxBodyCeiling, c.MaxBody)
	need(c.MaxFile >= 1 && c.MaxFile <= maxBodyCeiling, "max file must be 1 to %d bytes, but is %d", maxBodyCeiling, c.MaxFile)
	for _, n := range []struct {
		name  string
		value int
		least int
	}{
		{"token calls", c.TokenCalls, 0},
		{"max message", c.MaxMessage, 1},
		{"max users", c.MaxUsers, 1},
		{"max groups", c.MaxGroups, 1},
		{"max rooms", c.MaxRooms, 1},
		{"max files", c.MaxFiles, 1},
		{"plan calls", c.PlanCalls, 0},
	} {
		need(n.value >= n.least, "%s must be at least %d, but is %d", n.name, n.least, n.value)
	}
	need(c.Latency >= 0, "latency must not be negative, but is %v", c.Latency)
	need(c.LatencyJitter >= 0, "latency jitter must not be negative, but is %v", c.LatencyJitter)
	return errors.Join(append(errs, c.Quotas.Validate(), ValidateFaults(c.Faults))...)
}

// maxTargets is the number of targets one call of that type may name.
func (c Config) maxTargets(t TargetType) int {
	switch t {
	case Groups:
		return c.MaxGroups
	case Rooms:
		return c.MaxRooms
	default:
		return c.MaxUsers
	}
}

// validPathPart reports whether s can stand in a path as it is.
func validPathPart(s string) bool {
	for _, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		digit := r >= '0' && r <= '9'
		if !letter && !digit && r != '-' && r != '_' && r != '.' {
			return false
		}
	}
	return s != "" && s[0] != '.' && s != "_sim"
}
