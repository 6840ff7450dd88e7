package chatsim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// controlPath is where the simulator itself is watched and steered from
// outside. It takes no token, and no fault or outage touches it.
const controlPath = "/_sim/"

// controlRoutes are the calls below /_sim/:
//
//	GET  stats     Stats as JSON
//	GET  journal   one {"target_type","target","count"} a line
//	GET  messages  Messages as JSON
//	PUT  faults    text of ParseFaults, or [{"kind","percent","delay","retry_after"}]
//	PUT  quota     text of ParseQuotas
//	PUT  outage    off, unavailable or reset
//	PUT  secret    {"token","client_id","client_secret","revoke"}; absent fields stay
//	POST reset     Server.Reset
//
// Changes answer 204, mistakes 400 with the reason as text.
func (s *Server) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+controlPath+"stats", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Stats()) })
	mux.HandleFunc("GET "+controlPath+"messages", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Messages()) })
	mux.HandleFunc("GET "+controlPath+"journal", s.writeJournal)
	for pattern, change := range map[string]func(text []byte) error{
		"PUT " + controlPath + "faults": s.changeFaults,
		"PUT " + controlPath + "quota":  s.changeQuota,
		"PUT " + controlPath + "outage": s.changeOutage,
		"PUT " + controlPath + "secret": s.changeSecret,
		"POST " + controlPath + "reset": func([]byte) error { s.Reset(); return nil },
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
			if err == nil {
				err = change(bytes.TrimSpace(text))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	return mux
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // only a client that is gone can fail it
}

func (s *Server) writeJournal(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriterSize(w, 64<<10)
	rows := json.NewEncoder(out)
	for key, count := range s.Journal() {
		if rows.Encode(struct {
			Key
			Count int `json:"count"`
		}{key, count}) != nil {
			return // the client is gone
		}
	}
	_ = out.Flush()
}

func (s *Server) changeFaults(text []byte) error {
	if !bytes.HasPrefix(text, []byte("[")) {
		faults, err := ParseFaults(string(text))
		if err != nil {
			return err
		}
		return s.SetFaults(faults)
	}
	var rows []struct {
		Kind       FaultKind    `json:"kind"`
		Percent    float64      `json:"percent"`
		Delay      jsonDuration `json:"delay"`
		RetryAfter jsonDuration `json:"retry_after"`
	}
	if err := decodeStrict(text, &rows); err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	var faults []Fault
	for _, row := range rows {
		faults = append(faults, Fault{row.Kind, row.Percent, time.Duration(row.Delay), time.Duration(row.RetryAfter)})
	}
	return s.SetFaults(faults)
}

func (s *Server) changeQuota(text []byte) error {
	quotas, err := ParseQuotas(string(text))
	if err != nil {
		return err
	}
	return s.SetQuotas(quotas)
}

func (s *Server) changeOutage(text []byte) error {
	outage := Outage(strings.ToLower(string(text)))
	switch outage {
	case OutageNone, OutageUnavailable, OutageReset:
		s.SetOutage(outage)
		return nil
	default:
		return fmt.Errorf("outage: want %s, %s or %s", OutageNone, OutageUnavailable, OutageReset)
	}
}

func (s *Server) changeSecret(text []byte) error {
	change := struct {
		Token        *string `json:"token"`
		ClientID     *string `json:"client_id"`
		ClientSecret *string `json:"client_secret"`
		Revoke       bool    `json:"revoke"`
	}{}
	if err := decodeStrict(text, &change); err != nil {
		return errors.New("secret: want an object of token, client_id, client_secret and revoke") // err might quote a secret
	}
	secrets := s.tokens.current()
	for _, part := range []struct {
		to   *string
		from *string
	}{{&secrets.Token, change.Token}, {&secrets.ClientID, change.ClientID}, {&secrets.ClientSecret, change.ClientSecret}} {
		if part.from != nil {
			*part.to = *part.from
		}
	}
	s.SetSecrets(secrets, change.Revoke)
	return nil
}

// jsonDuration is a duration as text, such as "2s".
type jsonDuration time.Duration

func (d *jsonDuration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = jsonDuration(parsed)
	return err
}

func decodeStrict(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}
