// Package settings reads what programs are told by flags, environment
// variables and files.
//
// Invariant: all faults are found before anything starts, each is named by its
// variable, and none shows the value of a secret.
//
// It knows no setting by itself: each program declares its own as a struct for
// kong and turns the texts into values with Faults.
package settings

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// Redis are the settings that say where jobs are kept; every program embeds them.
type Redis struct {
	URL       string `name:"redis-url" env:"REDIS_URL" default:"redis://127.0.0.1:6379/0" help:"Where jobs are kept: redis://, rediss://, redis-sentinel://h1,h2/0?master=NAME, redis-cluster://h1,h2,h3; embedded[:PORT] is a trial Redis inside the process that keeps nothing."`
	URLFile   string `name:"redis-url-file" env:"REDIS_URL_FILE" help:"File that holds REDIS_URL."`
	Namespace string `name:"namespace" env:"NAMESPACE" default:"crier" help:"Prefix of all keys and queues. A namespace belongs to one org/app."`
}

// Exit codes that all programs share.
const (
	ExitOK    = 0
	ExitFail  = 1 // it could not be done
	ExitUsage = 2 // the settings, the input or the usage is wrong
)

// Parse fills the flags struct from arguments and environment; flags win, an
// empty variable counts as unset. Done says that the program has nothing more
// to do (--help, --version); an error is about the usage.
func Parse(flags any, args []string, out io.Writer, opts ...kong.Option) (ctx *kong.Context, done bool, err error) {
	for _, arg := range args {
		if !utf8.ValidString(arg) { // kong would change it in silence
			return nil, false, fmt.Errorf("settings: the argument %.80q is not valid UTF-8", arg)
		}
	}
	exited := false
	opts = append([]kong.Option{
		kong.Writers(out, out),
		kong.Exit(func(int) { exited = true }),
		kong.Vars{"version": About()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
	}, opts...)
	parser, err := kong.New(flags, opts...)
	if err != nil {
		return nil, false, fmt.Errorf("settings: %w", err)
	}
	if err := unsetEmpty(parser.Model.Node); err != nil {
		return nil, false, err
	}
	ctx, err = parser.Parse(args)
	if exited {
		return nil, true, nil
	}
	return ctx, false, err
}

// unsetEmpty removes empty variables, which kong would take for values.
func unsetEmpty(node *kong.Node) error {
	for _, flag := range node.Flags {
		for _, name := range flag.Envs {
			if value, set := os.LookupEnv(name); set && value == "" {
				if err := os.Unsetenv(name); err != nil {
					return fmt.Errorf("settings: %w", err)
				}
			}
		}
	}
	for _, child := range node.Children {
		if err := unsetEmpty(child); err != nil {
			return err
		}
	}
	return nil
}

// Faults turns texts into values and collects what is wrong with them.
type Faults struct {
	list []error
}

// Add notes a fault of a variable.
func (f *Faults) Add(variable, problem string, args ...any) {
	f.list = append(f.list, fmt.Errorf("%s: %s", variable, fmt.Sprintf(problem, args...)))
}

// AddError notes an error about a variable, if there is one; of a joined error, each part.
func (f *Faults) AddError(variable string, err error) {
	if err == nil {
		return
	}
	for part := range strings.SplitSeq(err.Error(), "\n") {
		f.Add(variable, "%s", part)
	}
}

// Err returns all faults, a line each, or nil.
func (f *Faults) Err() error { return errors.Join(f.list...) }

// Duration reads a duration such as 15s or 24h, within bounds.
func (f *Faults) Duration(variable, text string, low, high time.Duration) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || d < low || d > high {
		f.Add(variable, "%q must be a duration from %s to %s, such as 15s or 24h", text, low, high)
	}
	return d
}

// Int reads a whole number within bounds.
func (f *Faults) Int(variable, text string, low, high int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		f.Add(variable, "%q must be a whole number from %d to %d", text, low, high)
	}
	return n
}

// Bool reads true or false.
func (f *Faults) Bool(variable, text string) bool {
	b, err := strconv.ParseBool(text)
	if err != nil {
		f.Add(variable, "%q must be true or false", text)
	}
	return b
}

// Addr reads the address of a server, host:port; an empty host is all of this
// machine's. Whether the host exists shows when it is listened on.
func (f *Faults) Addr(variable, text string) string {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		f.Add(variable, "%q must be host:port, such as 127.0.0.1:9464", text)
	}
	return text
}

// OneOf reads one of some words.
func (f *Faults) OneOf(variable, text string, words ...string) string {
	if !slices.Contains(words, text) {
		f.Add(variable, "%q must be one of %s", text, strings.Join(words, ", "))
	}
	return text
}

// Required reads a text that must not be empty.
func (f *Faults) Required(variable, text string) string {
	if text == "" {
		f.Add(variable, "is required")
	}
	return text
}

// Secret reads a secret from its variable or from the file that VARIABLE_FILE
// names, without the line end behind it. A file wins over a default, not over
// a value that was given.
func (f *Faults) Secret(variable, value, def, file string) string {
	if file == "" {
		return value
	}
	if value != def {
		f.Add(variable, "is given both itself and by %s_FILE", variable)
		return value
	}
	text, err := os.ReadFile(file)
	if err != nil {
		f.Add(variable+"_FILE", "%v", err)
		return ""
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		f.Add(variable+"_FILE", "the file is empty")
	}
	return secret
}

// version is set by the linker.
var version = ""

// Version is the version of the program as it was built.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}

// About is what --version tells: the version, the Go that has built it and, where
// that is known, the commit.
func About() string {
	text := Version() + " (" + runtime.Version()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				text += ", commit " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return text + ")"
}
