package checks

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// board is a Grafana dashboard, as far as it is looked at.
type board struct {
	UID, Title, Description, Refresh string
	Editable                         *bool
	SchemaVersion                    int
	Tags                             []string
	Links                            []struct{ Title, URL string }
	Annotations                      struct{ List []struct{ Name, Expr string } }
	Templating                       struct{ List []variable }
	Panels                           []panel
}

type variable struct {
	Name, Type, AllValue string
	Datasource           source
	Query                json.RawMessage // a text, or an object that holds one
	Multi, IncludeAll    bool
	Refresh              int
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Collapsed                *bool
	Datasource               source
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit, NoValue string
			Mappings      []struct{ Type string }
		}
	}
	Targets []target
	Panels  []panel // of a row that is collapsed
}

type target struct {
	RefID, Expr, LegendFormat string
	Datasource                source
	Instant, Range            bool
}

type source struct{ Type, UID string }

// readBoards reads all dashboards, by their file's name.
func readBoards(t *testing.T) map[string]board {
	t.Helper()
	files, err := filepath.Glob("../grafana/dashboards/*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("dashboards: %v, %v", files, err)
	}
	boards := map[string]board{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var stable bytes.Buffer
		if err := json.Indent(&stable, bytes.TrimSpace(text), "", "  "); err != nil || stable.String()+"\n" != string(text) {
			t.Errorf("%s is not indented by two blanks (%v)", file, err)
		}
		boards[filepath.Base(file)] = b
	}
	return boards
}

// graphs are the panels that show something measured.
func (b board) graphs() []panel {
	return slices.DeleteFunc(slices.Clone(b.Panels), func(p panel) bool { return p.Type == "row" || p.Type == "text" })
}

// Boards stand on data sources and variables that fit any installation, and can
// be found from each other.
func TestBoardsFitAnyInstallation(t *testing.T) {
	boards := readBoards(t)
	uids := map[string]string{}
	for file, b := range boards {
		if other, twice := uids[b.UID]; twice || b.UID == "" {
			t.Errorf("%s: uid %q, and %q", file, b.UID, other)
		}
		uids[b.UID] = file
	}
	for file, b := range boards {
		if b.Title == "" || b.Description == "" || len(b.Tags) == 0 || b.Refresh != "30s" || b.SchemaVersion < 39 || b.Editable == nil || *b.Editable {
			t.Errorf("%s: title, description, tags, refresh, schemaVersion or editable", file)
		}
		if !slices.ContainsFunc(b.Links, func(l struct{ Title, URL string }) bool { return l.URL == "docs/runbook.md" }) {
			t.Errorf("%s has no link to the runbook", file)
		}
		links := 0
		for _, link := range b.Links {
			if uid, found := strings.CutPrefix(link.URL, "/d/"); found {
				links++
				if uids[uid] == "" || uids[uid] == file {
					t.Errorf("%s: link %q leads to %q", file, link.Title, link.URL)
				}
			}
		}
		if links != len(boards)-1 {
			t.Errorf("%s has %d links to other boards, want %d", file, links, len(boards)-1)
		}
		names := map[string]variable{}
		for _, v := range b.Templating.List {
			names[v.Name] = v
		}
		if names["datasource"].Type != "datasource" {
			t.Errorf("%s: no variable for the data source", file)
		}
		for name, all := range map[string]string{"namespace": ".*", "job": ".+", "instance": ".+"} { // not every scrape sets a namespace
			v := names[name]
			if v.Type != "query" || !v.Multi || !v.IncludeAll || v.AllValue != all || v.Refresh != 2 || v.Datasource != templated {
				t.Errorf("%s: variable %s is %+v", file, name, v)
			}
		}
	}
}

var templated = source{"prometheus", "${datasource}"}

// Each panel explains itself, and says what its numbers are.
func TestPanelsExplainThemselves(t *testing.T) {
	known := []string{"stat", "timeseries", "gauge", "bargauge", "table", "heatmap", "text", "row"}
	for file, b := range readBoards(t) {
		heatmaps := 0
		for _, p := range b.Panels {
			if !slices.Contains(known, p.Type) || p.Title == "" || len(p.Panels) > 0 {
				t.Errorf("%s: panel %d %q of type %q", file, p.ID, p.Title, p.Type)
			}
			if p.Type != "row" && !strings.HasSuffix(p.Description, ".") && !strings.HasSuffix(p.Description, "?") {
				t.Errorf("%s: %q has no description", file, p.Title)
			}
			if p.Type == "heatmap" {
				heatmaps++
			}
		}
		if heatmaps > 1 {
			t.Errorf("%s has %d heatmaps", file, heatmaps)
		}
		for _, p := range b.graphs() {
			if p.FieldConfig.Defaults.Unit == "" || p.FieldConfig.Defaults.NoValue == "" || p.Datasource != templated || len(p.Targets) == 0 {
				t.Errorf("%s: %q: unit, text for no value, data source or queries", file, p.Title)
			}
			refs := map[string]bool{}
			for _, q := range p.Targets {
				if q.Expr == "" || q.Datasource != templated || refs[q.RefID] || q.Instant == q.Range {
					t.Errorf("%s: %q: query %+v", file, p.Title, q)
				}
				refs[q.RefID] = true
			}
			if len(p.Targets) > 1 && slices.ContainsFunc(p.Targets, func(q target) bool { return q.LegendFormat == "" || q.LegendFormat == "__auto" }) {
				t.Errorf("%s: %q: a query without a name", file, p.Title)
			}
		}
	}
}

// Panels lie on a grid of 24 columns, each at a place of its own.
func TestPanelsDoNotOverlap(t *testing.T) {
	const columns = 24
	for file, b := range readBoards(t) {
		ids := map[int]bool{}
		taken := map[[2]int]string{}
		bottom := 0
		for _, p := range b.Panels {
			if ids[p.ID] || p.ID < 1 {
				t.Errorf("%s: %q has the id %d of another panel", file, p.Title, p.ID)
			}
			ids[p.ID] = true
			g := p.GridPos
			if g.X < 0 || g.W < 1 || g.X+g.W > columns || g.H < 1 || p.Type == "row" && g.Y < bottom {
				t.Errorf("%s: %q lies at %+v", file, p.Title, g)
			}
			bottom = max(bottom, g.Y+g.H)
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Fatalf("%s: %q lies on %q", file, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

// query is one expression that somebody will look at.
type query struct {
	where   string   // for messages
	expr    string   // with variables put in
	labels  []string // that its legend names
	rule    bool     // of an alert or a recording
	records string   // name of the series that the rule makes
}

// tileWords are the labels that a legend names.
var tileWords = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// spans are what Grafana puts in for ranges of time: four scrapes at least, and
// all that is shown.
var spans = strings.NewReplacer("$__rate_interval", "4s", "$__range", "30s")

// choices are what it puts in for All.
var choices = strings.NewReplacer("$namespace", ".*", "$job", ".+", "$instance", ".+", "$target_type", ".+")

// queries are the expressions of all panels.
func (b board) queries(file string) []query {
	var all []query
	for _, p := range b.graphs() {
		for _, q := range p.Targets {
			one := query{where: file + ": " + p.Title + ": " + q.RefID, expr: choices.Replace(spans.Replace(q.Expr))}
			for _, word := range tileWords.FindAllStringSubmatch(q.LegendFormat, -1) {
				one.labels = append(one.labels, word[1])
			}
			all = append(all, one)
		}
	}
	return all
}
