package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// description is the API's, against which calls are held. The schemas of OpenAPI 3.1
// are JSON Schemas.
type description struct {
	text  string
	paths map[string]map[string]described
	make  *jsonschema.Compiler
}

type described struct {
	OperationID, Summary string
	Parameters           []struct{ Name, In string }
	RequestBody          *content
	Responses            map[string]content
}

type content struct {
	Content map[string]struct{ Schema any }
}

const descriptionURL = "https://example.com/openapi.json"

// described reads the description from a gateway.
func (r *rig) described() *description {
	r.t.Helper()
	text := r.wants(r.get("/openapi.json"), 200).body
	d := &description{
		text: text, make: jsonschema.NewCompiler(),
		paths: decode[struct {
			Paths map[string]map[string]described
		}](r.t, text).Paths,
	}
	d.make.DefaultDraft(jsonschema.Draft2020)
	d.make.AssertFormat()
	if err := d.make.AddResource(descriptionURL, decode[any](r.t, text)); err != nil {
		r.t.Fatal(err)
	}
	return d
}

// against holds a JSON value against the schema at a place of the description.
func (d *description) against(value any, place ...string) error {
	pointer := "#"
	for _, part := range place {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(part)
	}
	schema, err := d.make.Compile(descriptionURL + (&url.URL{Fragment: pointer[1:]}).String())
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// find is the call that a path means: of those that it fits, the one with the
// fewest parameters.
func (d *description) find(t testing.TB, method, path string) (template string, op described) {
	t.Helper()
	fewest := 99
	for candidate, item := range d.paths {
		want, have := strings.Split(candidate, "/"), strings.Split(path, "/")
		found, there := item[strings.ToLower(method)]
		if !there || len(want) != len(have) {
			continue
		}
		parameters := 0
		for i, part := range want {
			if strings.HasPrefix(part, "{") {
				parameters++
			} else if part != have[i] {
				parameters = 99
			}
		}
		if parameters < fewest {
			template, op, fewest = candidate, found, parameters
		}
	}
	if template == "" {
		t.Fatalf("%s %s is not described", method, path)
	}
	return template, op
}

// request says what is wrong with a request.
func (d *description) request(t testing.TB, r *http.Request, media, body string) error {
	t.Helper()
	template, op := d.find(t, r.Method, r.URL.Path)
	method := strings.ToLower(r.Method)
	for name, values := range r.URL.Query() {
		at := slices.IndexFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.Name == name && p.In == "query" })
		if at < 0 {
			return fmt.Errorf("the parameter %s is not described", name)
		}
		var value any = values[0]
		if err := json.Unmarshal([]byte(values[0]), &value); err != nil {
			value = values[0] // a text
		}
		if err := d.against(value, "paths", template, method, "parameters", strconv.Itoa(at), "schema"); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if media == "" {
		return nil
	}
	if op.RequestBody == nil || op.RequestBody.Content[media].Schema == nil {
		return fmt.Errorf("%s is not described", media)
	}
	if media != "application/json" {
		return nil
	}
	var value any
	if err := json.Unmarshal([]byte(body), &value); err != nil {
		return err
	}
	return d.against(value, "paths", template, method, "requestBody", "content", media, "schema")
}

// answer says what is wrong with an answer.
func (d *description) answer(t testing.TB, r *http.Request, got reply) error {
	t.Helper()
	template, op := d.find(t, r.Method, r.URL.Path)
	status := strconv.Itoa(got.status)
	answer, there := op.Responses[status]
	media, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
	switch {
	case !there:
		return fmt.Errorf("%s is not described", status)
	case got.body == "" && answer.Content == nil:
		return nil
	case answer.Content[media].Schema == nil:
		return fmt.Errorf("%s of %s is not described", media, status)
	case !strings.HasSuffix(media, "json"):
		return nil
	}
	var value any
	if err := json.Unmarshal([]byte(got.body), &value); err != nil {
		return err
	}
	return d.against(value, "paths", template, strings.ToLower(r.Method), "responses", status, "content", media, "schema")
}

// The description is valid by the OpenAPI Initiative's own schema of descriptions.
func TestDescriptionIsValid(t *testing.T) {
	r := newRig(t, nil)
	d := r.described()
	file, err := os.Open("testdata/openapi-3.1-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // read only
	rules, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("rules.json", rules); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("rules.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(decode[any](t, d.text)); err != nil {
		t.Errorf("%#v", err)
	}
	if err := schema.Validate(decode[any](t, strings.Replace(d.text, `"operationId"`, `"operation"`, 1))); err == nil {
		t.Error("an unknown field is valid, too: nothing is held against the rules")
	}
	doc := decode[struct {
		OpenAPI    string
		Components struct{ Schemas map[string]any }
	}](t, d.text)
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	var calls []string
	ids := map[string]string{}
	for path, item := range d.paths {
		for method, op := range item {
			call := strings.ToUpper(method) + " " + path
			calls = append(calls, call)
			if other := ids[op.OperationID]; op.OperationID == "" || other != "" || op.Summary == "" || len(op.Responses) == 0 {
				t.Errorf("%s: id %q (also of %q), summary %q, %d responses", call, op.OperationID, other, op.Summary, len(op.Responses))
			}
			ids[op.OperationID] = call
		}
	}
	for _, call := range []string{
		"POST /v1/jobs", "POST /v1/jobs/{id}/targets", "POST /v1/jobs/{id}/start", "GET /v1/jobs", "GET /v1/jobs/{id}", "GET /v1/jobs/{id}/results",
		"POST /v1/jobs/{id}/pause", "POST /v1/jobs/{id}/resume", "POST /v1/jobs/{id}/cancel", "POST /v1/jobs/{id}/resend", "DELETE /v1/jobs/{id}",
		"POST /v1/plan", "POST /{org}/{app}/messages", "POST /{org}/{app}/messages/users", "POST /{org}/{app}/messages/chatgroups",
		"POST /{org}/{app}/messages/chatrooms", "GET /healthz", "GET /readyz", "GET /metrics",
	} {
		if !slices.Contains(calls, call) {
			t.Errorf("%s is not described", call)
		}
	}
	used := map[string]bool{}
	references(decode[any](t, d.text), used)
	const schemas = "#/components/schemas/"
	for ref := range used {
		if name, ok := strings.CutPrefix(ref, schemas); !ok || doc.Components.Schemas[name] == nil {
			t.Errorf("%s is nowhere", ref)
		}
	}
	for name := range doc.Components.Schemas {
		if !used[schemas+name] {
			t.Errorf("nothing refers to %s", name)
		}
	}
}

// references collects what the $refs of a document refer to.
func references(v any, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			found[ref] = true
		}
		for _, member := range v {
			references(member, found)
		}
	case []any:
		for _, item := range v {
			references(item, found)
		}
	}
}

// What is answered, and what is taken, is what the description says.
func TestCallsAreAsDescribed(t *testing.T) {
	r := newRig(t, nil)
	d := r.described()
	full := `{"id":"full","target_type":"users","target":["u1","u2"],"from":"admin","ext":{"k":"v"},"msg":{"type":"txt","msg":"hello"},"sync_device":true,
		"options":{"name":"Full","priority":"urgent","weight":2,"max_rate":7,"send_at":"2999-12-01T09:00:00Z","expires_at":"2999-12-01T21:00:00Z","on_unknown":"hold"}}`
	split := `{"from":"admin","to":["u1"],"type":"img","body":{"url":"https://example.com/a.jpg","filename":"a.jpg","secret":"s"}}`
	const text, asJSON = "text/plain", "application/json"
	for _, tt := range []struct {
		call, media, body string
		status            int
		wrong             bool // the description, too, says that the request is
	}{
		{call: "POST /v1/jobs", media: asJSON, body: full, status: 202},
		{call: "POST /v1/jobs", media: asJSON, body: full, status: 200},
		{call: "POST /v1/jobs", media: asJSON, body: strings.Replace(full, "hello", "bye", 1), status: 409},
		{call: "POST /v1/jobs", media: asJSON, body: `{"id":"draft",` + draft[1:], status: 202},
		{call: "POST /v1/jobs", media: asJSON, body: strings.Replace(full, `"weight":2`, `"weight":11`, 1), status: 422, wrong: true},
		{call: "POST /v1/jobs", media: asJSON, body: strings.Replace(full, `"from"`, `"form"`, 1), status: 422, wrong: true},
		{call: "POST /v1/jobs", media: asJSON, body: strings.Replace(full, `"users"`, `"people"`, 1), status: 422, wrong: true},
		{call: "POST /v1/jobs", media: asJSON, body: strings.Replace(full, `"msg":"hello"`, `"mag":"hello"`, 1), status: 422},
		{call: "POST /v1/jobs", media: asJSON, body: `{"`, status: 400, wrong: true},
		{call: "POST /v1/jobs/draft/targets", media: text, body: "u1\nu2\n", status: 200},
		{call: "POST /v1/jobs/draft/targets", media: text, body: "u 1\n", status: 422},
		{call: "POST /v1/jobs/draft/targets", media: "text/csv", body: "username\nu3\n", status: 200},
		{call: "POST /v1/jobs/draft/targets?skip_invalid=true", media: "application/x-ndjson", body: "\"u4\"\n", status: 200},
		{call: "POST /v1/jobs/draft/start", status: 202},
		{call: "POST /v1/jobs/none/start", status: 404},
		{call: "GET /v1/jobs", status: 200},
		{call: "GET /v1/jobs?limit=1&state=scheduled", status: 200},
		{call: "GET /v1/jobs?limit=0", status: 422, wrong: true},
		{call: "GET /v1/jobs/full", status: 200},
		{call: "GET /v1/jobs/none", status: 404},
		{call: "POST /v1/jobs/draft/pause", status: 200},
		{call: "POST /v1/jobs/draft/resume", status: 200},
		{call: "POST /v1/jobs/draft/cancel", status: 200},
		{call: "POST /v1/jobs/draft/pause", status: 409},
		{call: "POST /v1/jobs/draft/resend?outcome=cancelled", status: 202},
		{call: "POST /v1/jobs/full/resend", status: 409},
		{call: "DELETE /v1/jobs/draft", status: 204},
		{call: "POST /v1/plan", media: asJSON, body: full, status: 200},
		{call: "POST /org/app/messages", media: asJSON, body: document("u1"), status: 202},
		{call: "POST /org/app/messages/users?priority=urgent", media: asJSON, body: split, status: 202},
		{call: "POST /org/app/messages/chatgroups", media: asJSON, body: `{"to":["g1"],"type":"txt"}`, status: 422, wrong: true},
		{call: "GET /healthz", status: 200},
		{call: "GET /readyz", status: 200},
	} {
		t.Run(fmt.Sprint(tt.call, " ", tt.status), func(t *testing.T) {
			method, path, _ := strings.Cut(tt.call, " ")
			request, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.media != "" {
				request.Header.Set("Content-Type", tt.media)
			}
			request.Header.Set("Authorization", "Bearer none-is-needed") // but the description does not know that
			got, err := send(request)
			if err != nil || got.status != tt.status {
				t.Fatalf("%v %+v", err, got)
			}
			if err := d.answer(t, request, got); err != nil {
				t.Errorf("%s: %v", got.body, err)
			}
			if err := d.request(t, request, tt.media, tt.body); (err != nil) != tt.wrong {
				t.Errorf("the description says of the request: %v", err)
			}
		})
	}
}
