package main

import (
	"log/slog"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/alecthomas/kong"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/ledger"
	"crier/internal/redisconn"
	"crier/internal/settings"
	"crier/internal/tasks"
)

// flags are the settings as texts: kong would stop at the first wrong one.
type flags struct {
	settings.Redis
	settings.Chat

	ChatAPI        string `name:"chat-api" env:"CHAT_API" default:"unified" help:"Form of the API: unified (POST .../messages) or split (POST .../messages/users, /chatgroups, /chatrooms)."`
	ChatMaxBody    string `name:"chat-max-body" env:"CHAT_MAX_BODY" default:"5120" help:"Bytes of one request body, at least 1024."`
	ChatMaxMessage string `name:"chat-max-message" env:"CHAT_MAX_MESSAGE" default:"4096" help:"Bytes of msg and ext, encoded."`
	ChatMaxUsers   string `name:"chat-max-users" env:"CHAT_MAX_USERS" help:"Users in one call (default 600)."`
	ChatMaxGroups  string `name:"chat-max-groups" env:"CHAT_MAX_GROUPS" help:"Groups in one call (default 600; split 3)."`
	ChatMaxRooms   string `name:"chat-max-rooms" env:"CHAT_MAX_ROOMS" help:"Rooms in one call (default 600; split 10)."`
	ChatQuota      string `name:"chat-quota" env:"CHAT_QUOTA" default:"auto" help:"Known quota of calls (N/W) and targets (Nt/W) in a window W of s, m or a duration: users=100/s,6000t/m;chatgroups=20/s,20t/s; auto learns it from the answers."`

	Concurrency       string `name:"concurrency" env:"CONCURRENCY" default:"32" help:"Bulk calls in flight of this process."`
	UrgentConcurrency string `name:"urgent-concurrency" env:"URGENT_CONCURRENCY" default:"8" help:"Urgent calls in flight, on top."`
	MaxAttempts       string `name:"max-attempts" env:"MAX_ATTEMPTS" default:"0" help:"Failed attempts after which a target is given up; 0 = no cap."`
	GiveUpAfter       string `name:"give-up-after" env:"GIVE_UP_AFTER" default:"24h" help:"Time after a target's first failed attempt at which it is given up."`

	AdminAddr       string `name:"admin-addr" env:"ADMIN_ADDR" default:"127.0.0.1:9464" help:"Address of /metrics, /healthz, /readyz and /queues/, which have no password; off = none."`
	Pprof           string `name:"pprof" env:"PPROF" default:"false" help:"Serve profiles at /debug/pprof/ of ADMIN_ADDR: true or false."`
	ShutdownTimeout string `name:"shutdown-timeout" env:"SHUTDOWN_TIMEOUT" default:"30s" help:"Time for calls in flight to finish after SIGTERM."`
	JobRetention    string `name:"job-retention" env:"JOB_RETENTION" default:"168h" help:"How long the record of a finished job stays."`
	UrgentRetention string `name:"urgent-retention" env:"URGENT_RETENTION" default:"24h" help:"The same for urgent jobs; their text goes at once."`
	KeepMessageIDs  string `name:"keep-message-ids" env:"KEEP_MESSAGE_IDS" default:"false" help:"Keep the vendor's message ids for results: true or false."`

	settings.Log
	Version kong.VersionFlag `name:"version" help:"Show the version."`
}

func about() []kong.Option {
	return []kong.Option{
		kong.Name("worker"),
		kong.Description("Delivers send jobs through the Chat REST API. Every setting is a flag and a variable; flags win, an empty variable counts as unset."),
	}
}

// config is the settings as values.
type config struct {
	redisURL  string
	adminAddr string // "" = none
	profiles  bool   // of net/http/pprof, at adminAddr
	access    settings.ChatAccess
	chat      apiclient.Config
	ledger    ledger.Config
	gate      gate.Config
	tasks     tasks.Config
}

// connections is how many connections to Redis are of use: each call in flight
// records its outcome, lanes ask the gate, agents look around.
func (c config) connections() int { return c.tasks.Concurrency + c.tasks.UrgentConcurrency + 32 }

const year = 365 * 24 * time.Hour

// read turns texts into values and reports all faults together.
func (f *flags) read(stderr *os.File) (config, *slog.Logger, error) {
	var faults settings.Faults
	c := config{chat: apiclient.DefaultConfig(), ledger: ledger.DefaultConfig(), gate: gate.DefaultConfig(), tasks: tasks.DefaultConfig()}

	url, namespace := f.Read(&faults, redisconn.Parse)
	c.redisURL = url
	c.ledger.Namespace, c.gate.Namespace, c.tasks.Namespace = namespace, namespace, namespace

	f.readChat(&faults, &c)
	f.readLimits(&faults, &c)
	c.tasks.Concurrency = faults.Int("CONCURRENCY", f.Concurrency, 1, 10_000)
	c.tasks.UrgentConcurrency = faults.Int("URGENT_CONCURRENCY", f.UrgentConcurrency, 1, 10_000)
	c.tasks.Policy = tasks.Policy{
		MaxAttempts: faults.Int("MAX_ATTEMPTS", f.MaxAttempts, 0, math.MaxInt32),
		GiveUpAfter: faults.Duration("GIVE_UP_AFTER", f.GiveUpAfter, time.Second, year),
	}
	c.tasks.ShutdownTimeout = faults.Duration("SHUTDOWN_TIMEOUT", f.ShutdownTimeout, time.Second, time.Hour)
	c.ledger.Retention = faults.Duration("JOB_RETENTION", f.JobRetention, time.Second, year)
	c.ledger.UrgentRetention = faults.Duration("URGENT_RETENTION", f.UrgentRetention, time.Second, year)
	c.chat.MessageIDs = faults.Bool("KEEP_MESSAGE_IDS", f.KeepMessageIDs)
	c.chat.MaxConns = c.tasks.Concurrency + c.tasks.UrgentConcurrency
	c.profiles = faults.Bool("PPROF", f.Pprof)
	if f.AdminAddr != "off" {
		c.adminAddr = faults.Addr("ADMIN_ADDR", f.AdminAddr)
	}
	log := f.Logger(&faults, stderr)
	return c, log, faults.Err()
}

// readChat reads where the API is and who we are to it.
func (f *flags) readChat(faults *settings.Faults, c *config) {
	c.chat.Form = apiclient.Form(faults.OneOf("CHAT_API", f.ChatAPI, string(apiclient.FormUnified), string(apiclient.FormSplit)))
	c.access = f.ReadChat(faults, apiclient.CheckApp)
	c.chat.BaseURL, c.chat.Org, c.chat.App, c.chat.Timeout = c.access.BaseURL, c.access.Org, c.access.App, c.access.Timeout
	c.tasks.App = c.access.Org + "/" + c.access.App
}

// readLimits reads what one call may hold and how many may go.
func (f *flags) readLimits(faults *settings.Faults, c *config) {
	limits := tasks.DefaultLimits(c.chat.Form)
	limits.MaxBody = faults.Int("CHAT_MAX_BODY", f.ChatMaxBody, 1024, 64<<20)
	limits.MaxMessage = faults.Int("CHAT_MAX_MESSAGE", f.ChatMaxMessage, 1, 64<<20)
	for _, t := range []struct {
		variable, text string
		targetType     apiclient.TargetType
	}{
		{"CHAT_MAX_USERS", f.ChatMaxUsers, apiclient.Users},
		{"CHAT_MAX_GROUPS", f.ChatMaxGroups, apiclient.ChatGroups},
		{"CHAT_MAX_ROOMS", f.ChatMaxRooms, apiclient.ChatRooms},
	} {
		if t.text == "" {
			t.text = strconv.Itoa(limits.MaxTargets[t.targetType])
		}
		limits.MaxTargets[t.targetType] = faults.Int(t.variable, t.text, 1, 100_000)
	}
	types := make([]string, 0, len(limits.MaxTargets))
	for _, t := range apiclient.TargetTypes() {
		types = append(types, string(t))
	}
	quotas, err := gate.ParseQuotas(f.ChatQuota, types...)
	faults.AddError("CHAT_QUOTA", err)
	c.gate.Quotas = quotas
	limits.Quota = f.ChatQuota
	c.tasks.Limits = limits.Within(quotas)
}
