package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	faults "github.com/pb33f/libopenapi-validator/errors"
)

// described is the API's description, and what holds calls against it.
func (r *rig) described() (text string, v validator.Validator) {
	r.t.Helper()
	got := r.wants(r.get("/openapi.json"), 200)
	doc, err := libopenapi.NewDocument([]byte(got.body))
	if err != nil {
		r.t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	for _, err := range errs {
		r.t.Error(err)
	}
	if r.t.Failed() {
		r.t.FailNow()
	}
	return got.body, v
}

func told(t testing.TB, what string, errs []*faults.ValidationError) {
	t.Helper()
	for _, e := range errs {
		t.Errorf("%s: %s: %s", what, e.Message, e.Reason)
		for _, s := range e.SchemaValidationErrors {
			t.Errorf("  %s at %s", s.Reason, s.FieldPath)
		}
	}
}

func TestDescriptionIsValid(t *testing.T) {
	r := newRig(t, nil)
	text, v := r.described()
	if _, errs := v.ValidateDocument(); errs != nil {
		told(t, "the document", errs)
	}
	doc := decode[struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Responses   map[string]any
		}
		Components struct{ Schemas map[string]any }
	}](t, text)
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	var calls []string
	ids := map[string]string{}
	for path, item := range doc.Paths {
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
	references(decode[any](t, text), used)
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
	_, v := r.described()
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
			request.Body = io.NopCloser(strings.NewReader(tt.body))
			response := &http.Response{
				StatusCode: got.status, Header: got.header, Request: request, Body: io.NopCloser(bytes.NewReader([]byte(got.body))),
			}
			if _, errs := v.ValidateHttpResponse(request, response); errs != nil {
				told(t, "the answer "+got.body, errs)
			}
			request.Body = io.NopCloser(strings.NewReader(tt.body))
			switch _, errs := v.ValidateHttpRequest(request); {
			case !tt.wrong:
				told(t, "the request "+tt.body, errs)
			case errs == nil:
				t.Error("the description finds nothing wrong with the request")
			}
		})
	}
}
