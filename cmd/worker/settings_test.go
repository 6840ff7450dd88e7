package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var readmeRow = regexp.MustCompile("(?m)^\\| (`[A-Z_`, ]+`) \\|([^|]*)\\|")

// The README's table of settings has each variable once, with the default that
// the program has.
func TestReadmeTable(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{} // variable -> cell of defaults
	for _, row := range readmeRow.FindAllStringSubmatch(string(readme), -1) {
		names := strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ")
		defaults := strings.Split(strings.TrimSpace(row[2]), ", ")
		for i, name := range names {
			if told[name] != "" {
				t.Errorf("%s stands twice", name)
			}
			if len(defaults) == len(names) {
				told[name] = defaults[i]
			} else {
				told[name] = row[2]
			}
		}
	}
	parser, err := kong.New(&flags{}, append(about(), kong.Vars{"version": "x"})...)
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, flag := range parser.Model.Flags {
		for _, name := range flag.Envs {
			known = append(known, name)
			if want := "--" + strings.ReplaceAll(strings.ToLower(name), "_", "-"); "--"+flag.Name != want {
				t.Errorf("%s is the flag --%s, want %s", name, flag.Name, want)
			}
			cell, ok := told[name]
			switch {
			case strings.HasSuffix(name, "_FILE"):
				if !strings.Contains(string(readme), "`"+name+"`") {
					t.Errorf("the README does not name %s", name)
				}
			case !ok:
				t.Errorf("the README's table does not have %s", name)
			case flag.Default != "" && !strings.HasPrefix(strings.TrimSpace(cell), "`"+flag.Default+"`"):
				t.Errorf("%s is %s by default, the README says %s", name, flag.Default, cell)
			}
		}
	}
	for name := range told {
		if !slices.Contains(known, name) {
			t.Errorf("the README names %s, which is no setting", name)
		}
	}
}

func TestReadDefaults(t *testing.T) {
	var f flags
	parser, err := kong.New(&f, append(about(), kong.Vars{"version": "x"})...)
	if err != nil {
		t.Fatal(err)
	}
	read := func(args ...string) (config, error) {
		t.Helper()
		f = flags{}
		if _, err := parser.Parse(append([]string{"--chat-org=o", "--chat-app=a"}, args...)); err != nil {
			t.Fatal(err)
		}
		c, _, err := f.read(os.Stderr)
		return c, err
	}
	c, err := read("--chat-token=t")
	if err != nil {
		t.Fatal(err)
	}
	if c.tasks.App != "o/a" || c.tasks.Limits.MaxTargets["chatgroups"] != 600 || c.tasks.Concurrency != 32 || len(c.gate.Quotas) != 0 {
		t.Errorf("defaults: %+v", c)
	}
	if c, err = read("--chat-token=t", "--chat-api=split", "--chat-quota=users=100/s,500t/m"); err != nil ||
		c.tasks.Limits.MaxTargets["chatgroups"] != 3 || c.tasks.Limits.MaxTargets["users"] != 500 {
		t.Errorf("split with a quota: %+v, %v", c.tasks.Limits, err)
	}
	if _, err = read(); err == nil || !strings.Contains(err.Error(), "CHAT_TOKEN: is required") {
		t.Errorf("without credentials: %v", err)
	}
	if _, err = read("--chat-token=t", "--chat-client-id=x", "--chat-client-secret=y"); err == nil || !strings.Contains(err.Error(), "together") {
		t.Errorf("with both: %v", err)
	}
}
