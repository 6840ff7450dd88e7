package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"crier/internal/chatsim"
	"crier/internal/settings"
)

// envPrefix stands before a flag's name in its environment variable.
const envPrefix = "CHATSIM"

// options are the flags; each is also a variable, such as CHATSIM_MAX_BODY.
// Quotas and faults stay text here, so that all their mistakes can be named.
type options struct {
	Listen     string `default:"127.0.0.1:8090" help:"Loopback address to listen on; port 0 takes a free one. The URL is the first line of standard output."`
	AnyAddress bool   `help:"Take any other address too. Whoever reaches it can steer the simulator: for a private network of containers."`

	Org          string        `default:"${org}" help:"The {org_name} of every path."`
	App          string        `default:"${app}" help:"The {app_name} of every path."`
	Token        string        `default:"${token}" help:"Bearer token that is always accepted; empty = none."`
	ClientID     string        `default:"${client_id}" help:"Client id for the token path; empty with the secret = no token can be fetched."`
	ClientSecret string        `default:"${client_secret}" help:"Client secret for the token path."`
	TokenTTL     time.Duration `default:"${token_ttl}" help:"Life of a fetched token."`
	TokenCalls   int           `default:"0" help:"A fetched token dies after so many message calls and uploads; 0 = never."`

	MaxBody    int `default:"${max_body}" help:"Largest request body in bytes; beyond: 413."`
	MaxMessage int `default:"${max_message}" help:"Largest msg and ext in bytes; beyond: 400."`
	MaxUsers   int `default:"${max_users}" help:"Users of one call."`
	MaxGroups  int `default:"${max_groups}" help:"Groups of one call."`
	MaxRooms   int `default:"${max_rooms}" help:"Rooms of one call."`
	MaxFile    int `default:"${max_file}" help:"Largest uploaded file in bytes; beyond: 413."`
	MaxFiles   int `default:"${max_files}" help:"Uploaded files that are kept; the oldest is forgotten for the next."`

	Quota      string `help:"Quotas: users=100/s,6000t/m@sliding;chatgroups=20/s,20t/s (N/W calls, Nt/W targets; W is s, m, h or a duration; @fixed, @sliding or @bucket)."`
	PlanCalls  int    `default:"0" help:"Calls accepted until the plan is used up; 0 = never."`
	OldWording bool   `help:"Say 'Forbidden for url' where a target quota is used up."`

	Latency time.Duration `default:"0s" help:"Time from request to answer."`
	Jitter  time.Duration `default:"0s" help:"Most that is added to the latency at random."`
	Faults  string        `help:"What goes wrong, in percent of message calls and uploads: throttle=5:retry_after=2s,reset=3,slow=1:delay=3s."`
	Seed    int64         `default:"0" help:"Decides all that is random."`

	Poison         []string `help:"Targets that make their whole call answer 400, comma separated."`
	Refused        []string `help:"Targets whose value in the answer is a failure."`
	Missing        []string `help:"Targets that are delivered to but missing in the answer."`
	LowerCaseNames bool     `help:"Answer user names in lower case."`
	NoJournal      bool     `help:"Do not count per target."`

	Version kong.VersionFlag `env:"-" help:"Print the version and exit."`
}

// config turns flags into a configuration, or names every fault of them.
func (o options) config() (chatsim.Config, error) {
	quotas, quotaErr := chatsim.ParseQuotas(o.Quota)
	faults, faultErr := chatsim.ParseFaults(o.Faults)
	cfg := chatsim.Config{
		Org: o.Org, App: o.App,
		Token: o.Token, ClientID: o.ClientID, ClientSecret: o.ClientSecret,
		TokenTTL: o.TokenTTL, TokenCalls: o.TokenCalls,
		MaxBody: o.MaxBody, MaxMessage: o.MaxMessage,
		MaxUsers: o.MaxUsers, MaxGroups: o.MaxGroups, MaxRooms: o.MaxRooms,
		MaxFile: o.MaxFile, MaxFiles: o.MaxFiles,
		Quotas: quotas, PlanCalls: o.PlanCalls, OldWording: o.OldWording,
		Latency: o.Latency, LatencyJitter: o.Jitter, Faults: faults, Seed: o.Seed,
		Poison: o.Poison, Refused: o.Refused, Missing: o.Missing,
		LowerCaseNames: o.LowerCaseNames, NoJournal: o.NoJournal, AnyAddress: o.AnyAddress,
	}
	var listenErr error
	if !o.AnyAddress {
		listenErr = chatsim.CheckLoopback(o.Listen)
	}
	return cfg, errors.Join(listenErr, quotaErr, faultErr, cfg.Validate())
}

// parse reads flags and environment. exited is true when help or version was
// asked for and given. The error names every fault there is, of values that
// cannot be read and of values that do not fit.
func parse(args []string, stdout, stderr io.Writer) (cfg chatsim.Config, listen string, exited bool, err error) {
	dropEmptyVariables()
	var opts options
	var unreadable mistakes
	parser, err := kong.New(&opts,
		kong.Name("chatsim"),
		kong.Description("A simulated Chat REST API on a loopback address."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { exited = true }),
		kong.DefaultEnvars(envPrefix),
		kong.KindMapper(reflect.Int, unreadable.collect(reflect.TypeFor[int]())),
		kong.KindMapper(reflect.Int64, unreadable.collect(reflect.TypeFor[int64]())),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), unreadable.collect(reflect.TypeFor[time.Duration]())),
		defaults(),
	)
	if err != nil {
		return cfg, "", false, fmt.Errorf("flags: %w", err)
	}
	if _, err = parser.Parse(args); exited || err != nil {
		return cfg, "", exited, errors.Join(append(unreadable.list, err)...)
	}
	cfg, err = opts.config()
	return cfg, opts.Listen, false, errors.Join(append(unreadable.list, err)...)
}

// defaults fills the ${...} of the flags from the package's own defaults.
func defaults() kong.Vars {
	cfg := chatsim.DefaultConfig()
	return kong.Vars{
		"version":       settings.About(),
		"org":           cfg.Org,
		"app":           cfg.App,
		"token":         cfg.Token,
		"client_id":     cfg.ClientID,
		"client_secret": cfg.ClientSecret,
		"token_ttl":     cfg.TokenTTL.String(),
		"max_body":      strconv.Itoa(cfg.MaxBody),
		"max_message":   strconv.Itoa(cfg.MaxMessage),
		"max_users":     strconv.Itoa(cfg.MaxUsers),
		"max_groups":    strconv.Itoa(cfg.MaxGroups),
		"max_rooms":     strconv.Itoa(cfg.MaxRooms),
		"max_file":      strconv.Itoa(cfg.MaxFile),
		"max_files":     strconv.Itoa(cfg.MaxFiles),
	}
}

// mistakes gathers values that kong's own mappers cannot read, where kong by
// itself stops at the first. Such a value counts as not given.
type mistakes struct{ list []error }

func (m *mistakes) collect(typ reflect.Type) kong.Mapper {
	inner := kong.NewRegistry().RegisterDefaults().ForType(typ)
	return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		err := inner.Decode(ctx, target)
		if err == nil {
			return nil
		}
		named := fmt.Errorf("--%s: %w", ctx.Value.Name, err)
		// Kong may decode a variable's value more than once.
		if !slices.ContainsFunc(m.list, func(e error) bool { return e.Error() == named.Error() }) {
			m.list = append(m.list, named)
		}
		fallback := kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: ctx.Value.Default})
		return inner.Decode(ctx.WithScanner(fallback), target)
	})
}

// dropEmptyVariables makes an empty variable count as unset.
func dropEmptyVariables() {
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if value == "" && strings.HasPrefix(name, envPrefix+"_") {
			_ = os.Unsetenv(name) // fails for malformed names only
		}
	}
}
