package main

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
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

	ChatURL              string `name:"chat-url" env:"CHAT_URL" default:"https://a1.easecdn.com" help:"Base URL of the Chat API."`
	ChatOrg              string `name:"chat-org" env:"CHAT_ORG" help:"Path part {org_name}; required."`
	ChatApp              string `name:"chat-app" env:"CHAT_APP" help:"Path part {app_name}; required."`
	ChatToken            string `name:"chat-token" env:"CHAT_TOKEN" help:"Fixed bearer token; or set a client id and secret."`
	ChatTokenFile        string `name:"chat-token-file" env:"CHAT_TOKEN_FILE" help:"File that holds CHAT_TOKEN; read again when the token is refused."`
	ChatClientID         string `name:"chat-client-id" env:"CHAT_CLIENT_ID" help:"Client id with which tokens are fetched and renewed."`
	ChatClientSecret     string `name:"chat-client-secret" env:"CHAT_CLIENT_SECRET" help:"Client secret that goes with it."`
	ChatClientSecretFile string `name:"chat-client-secret-file" env:"CHAT_CLIENT_SECRET_FILE" help:"File that holds CHAT_CLIENT_SECRET; read again for each token."`
	ChatAPI              string `name:"chat-api" env:"CHAT_API" default:"unified" help:"Form of the API: unified (POST .../messages) or split (POST .../messages/users, /chatgroups, /chatrooms)."`
	ChatMaxBody          string `name:"chat-max-body" env:"CHAT_MAX_BODY" default:"5120" help:"Bytes of one request body, at least 1024."`
	ChatMaxMessage       string `name:"chat-max-message" env:"CHAT_MAX_MESSAGE" default:"4096" help:"Bytes of msg and ext, encoded."`
	ChatMaxUsers         string `name:"chat-max-users" env:"CHAT_MAX_USERS" help:"Users in one call (default 600)."`
	ChatMaxGroups        string `name:"chat-max-groups" env:"CHAT_MAX_GROUPS" help:"Groups in one call (default 600; split 3)."`
	ChatMaxRooms         string `name:"chat-max-rooms" env:"CHAT_MAX_ROOMS" help:"Rooms in one call (default 600; split 10)."`
	ChatQuota            string `name:"chat-quota" env:"CHAT_QUOTA" default:"auto" help:"Known quota of calls (N/W) and targets (Nt/W) in a window W of s, m or a duration: users=100/s,6000t/m;chatgroups=20/s,20t/s; auto learns it from the answers."`
	ChatTimeout          string `name:"chat-timeout" env:"CHAT_TIMEOUT" default:"15s" help:"Time of one call."`

	Concurrency       string `name:"concurrency" env:"CONCURRENCY" default:"32" help:"Bulk calls in flight of this process."`
	UrgentConcurrency string `name:"urgent-concurrency" env:"URGENT_CONCURRENCY" default:"8" help:"Urgent calls in flight, on top."`
	MaxAttempts       string `name:"max-attempts" env:"MAX_ATTEMPTS" default:"0" help:"Failed attempts after which a target is given up; 0 = no cap."`
	GiveUpAfter       string `name:"give-up-after" env:"GIVE_UP_AFTER" default:"24h" help:"Time after a target's first failed attempt at which it is given up."`

	AdminAddr       string `name:"admin-addr" env:"ADMIN_ADDR" default:"127.0.0.1:9464" help:"Address of /metrics, /healthz and /readyz; off = none."`
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
	redisURL            string
	clientID            string // "" = the token is fixed
	token, clientSecret secret
	adminAddr           string // "" = none
	chat                apiclient.Config
	ledger              ledger.Config
	gate                gate.Config
	tasks               tasks.Config
}

// secret returns a secret as it is now: a file may be given another content
// while the worker runs, as Kubernetes does with its secrets.
type secret func() (string, error)

// secretIn returns the secret in a file, or without one this value.
func secretIn(file, value string) secret {
	if file == "" {
		return func() (string, error) { return value, nil }
	}
	return func() (string, error) {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if value := strings.TrimRight(string(text), "\r\n"); value != "" {
			return value, nil
		}
		return "", errors.New(file + " is empty")
	}
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
	if f.AdminAddr != "off" {
		c.adminAddr = faults.Addr("ADMIN_ADDR", f.AdminAddr)
	}
	log := f.Logger(&faults, stderr)
	return c, log, faults.Err()
}

// readChat reads where the API is and who we are to it.
func (f *flags) readChat(faults *settings.Faults, c *config) {
	c.chat.BaseURL = strings.TrimRight(f.ChatURL, "/")
	c.chat.Org, c.chat.App = f.ChatOrg, f.ChatApp
	c.tasks.App = c.chat.Org + "/" + c.chat.App
	c.chat.Form = apiclient.Form(faults.OneOf("CHAT_API", f.ChatAPI, string(apiclient.FormUnified), string(apiclient.FormSplit)))
	c.chat.Timeout = faults.Duration("CHAT_TIMEOUT", f.ChatTimeout, 10*time.Millisecond, time.Hour)
	token := faults.Secret("CHAT_TOKEN", f.ChatToken, "", f.ChatTokenFile)
	if bare := strings.TrimSpace(token); token != "" && (bare == "" || strings.ContainsFunc(bare, notInHeader)) {
		faults.Add("CHAT_TOKEN", "must be printable ASCII without spaces: nothing else can be a bearer token")
	}
	c.token = secretIn(f.ChatTokenFile, token)
	c.clientID = f.ChatClientID
	clientSecret := faults.Secret("CHAT_CLIENT_SECRET", f.ChatClientSecret, "", f.ChatClientSecretFile)
	if clientSecret != "" && strings.TrimSpace(clientSecret) == "" {
		faults.Add("CHAT_CLIENT_SECRET", "is blank")
	}
	c.clientSecret = secretIn(f.ChatClientSecretFile, clientSecret)
	switch hasToken, hasClient := f.ChatToken+f.ChatTokenFile != "", f.ChatClientID+f.ChatClientSecret+f.ChatClientSecretFile != ""; {
	case hasToken && hasClient:
		faults.Add("CHAT_TOKEN", "is given together with CHAT_CLIENT_ID and CHAT_CLIENT_SECRET: one of the two")
	case hasClient:
		faults.Required("CHAT_CLIENT_ID", f.ChatClientID)
		if f.ChatClientSecretFile == "" {
			faults.Required("CHAT_CLIENT_SECRET", f.ChatClientSecret)
		}
	case !hasToken:
		faults.Add("CHAT_TOKEN", "is required, or CHAT_CLIENT_ID and CHAT_CLIENT_SECRET")
	}
	variables := map[string]string{"BaseURL": "CHAT_URL", "Org": "CHAT_ORG", "App": "CHAT_APP"} // others have bounds of ours
	if joined, ok := c.chat.Validate().(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			var fault apiclient.FieldError
			if errors.As(err, &fault) && variables[fault.Field] != "" {
				faults.Add(variables[fault.Field], "%s", fault.Problem)
			}
		}
	}
}

func notInHeader(r rune) bool { return r <= ' ' || r > '~' }

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
