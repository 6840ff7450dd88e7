package apiclient

import (
	"errors"
	"net/url"
	"strings"
	"time"
)

// Config says where the Chat API is and how to speak to it.
type Config struct {
	// BaseURL is http or https, with no user, query or fragment in it.
	BaseURL string
	// Org and App are the path parts {org_name} and {app_name}.
	Org, App string
	Form     Form
	// Timeout is for one attempt, from looking for a connection to the last
	// byte of the answer. A call takes one of them, or four at most if its token
	// dies again and again, and what its tokens take.
	Timeout time.Duration
	// MaxConns is the number of connections that are kept for use again: as
	// many as there are calls at a time. More calls are not held up.
	MaxConns int
	// MessageIDs asks for the vendor's message ids and keeps them in Answer.IDs.
	MessageIDs bool
	// Tokens is closed with the client.
	Tokens TokenSource
	// Observe, if not nil, is told of every attempt: "messages" (unified form),
	// "messages_users", "messages_chatgroups", "messages_chatrooms" (split form),
	// "chatfiles" or "token"; the status, 0 = no answer; and how long it took. It is called
	// by many goroutines.
	Observe func(endpoint string, status int, d time.Duration)
}

// Endpoints lists the names that Observe is told of where messages go in this form.
func Endpoints(form Form) []string {
	endpoints := []string{TokenEndpoint, FilesEndpoint}
	if form != FormSplit {
		return append(endpoints, messagesEndpoint)
	}
	for _, t := range TargetTypes() {
		endpoints = append(endpoints, messagesEndpoint+"_"+string(t))
	}
	return endpoints
}

// messagesEndpoint is the name of calls with messages; in the split form the
// target type follows.
const messagesEndpoint = "messages"

// DefaultConfig returns the defaults of all that has one: not Org, App and Tokens.
func DefaultConfig() Config {
	return Config{BaseURL: "https://a1.easecdn.com", Form: FormUnified, Timeout: 15 * time.Second, MaxConns: 40}
}

// Validate returns all faults, each a FieldError named by the field of Config.
func (c Config) Validate() error {
	_, faults := appURL(c.BaseURL, c.Org, c.App)
	if !c.Form.Valid() {
		faults = append(faults, FieldError{"Form", "must be unified or split"})
	}
	if c.Timeout <= 0 {
		faults = append(faults, FieldError{"Timeout", "must be more than 0"})
	}
	if c.MaxConns <= 0 {
		faults = append(faults, FieldError{"MaxConns", "must be more than 0"})
	}
	if c.Tokens == nil {
		faults = append(faults, FieldError{"Tokens", "is required"})
	}
	return errors.Join(faults...)
}

// appURL returns {base}/{org}/{app}, or the faults of the three.
func appURL(base, org, app string) (u *url.URL, faults []error) {
	ofBase, ofOrg, ofApp := CheckApp(base, org, app)
	for _, part := range []struct {
		field string
		err   error
	}{{"BaseURL", ofBase}, {"Org", ofOrg}, {"App", ofApp}} {
		if part.err != nil {
			faults = append(faults, FieldError{part.field, part.err.Error()})
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	u, _ = url.Parse(base) // as checked
	return u.JoinPath(org, app), nil
}

// CheckApp says what is wrong with a base URL, an organisation and an app, nil
// where nothing is. It never repeats what is in a base URL: there may be a
// password in it.
func CheckApp(base, org, app string) (ofBase, ofOrg, ofApp error) {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		ofBase = errors.New("must be an http or https URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		ofBase = errors.New("must hold no user, query or fragment")
	}
	return ofBase, checkPart(org), checkPart(app)
}

func checkPart(name string) error {
	switch {
	case name == "":
		return errors.New("is required")
	case !onePart(name):
		return errors.New("must be one part of a path, without / # ? % and spaces")
	}
	return nil
}

// onePart reports whether a name can stand in a path by itself.
func onePart(name string) bool {
	return strings.Trim(name, ".") != "" && !strings.ContainsAny(name, "/#?%\\ \t\r\n")
}
