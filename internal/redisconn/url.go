package redisconn

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// topology is how the servers behind a URL stand together.
type topology int

const (
	single topology = iota
	sentinel
	cluster
	embedded
)

// schemes are all that stand before "://". Their TLS forms read the files below.
var schemes = map[string]struct {
	topology topology
	tls      bool
}{
	"redis":           {single, false},
	"rediss":          {single, true},
	"redis-sentinel":  {sentinel, false},
	"rediss-sentinel": {sentinel, true},
	"redis-cluster":   {cluster, false},
	"rediss-cluster":  {cluster, true},
}

const (
	knownForms   = "redis://, rediss://, redis-sentinel://, rediss-sentinel://, redis-cluster://, rediss-cluster://, embedded, embedded:PORT"
	redisPort    = "6379"
	sentinelPort = "26379"
)

var (
	sentinelParams = []string{"master", "sentinel_user", "sentinel_password"}
	tlsParams      = []string{"ca", "cert", "key"}
)

// endpoint is a REDIS_URL taken apart.
type endpoint struct {
	topology topology
	scheme   string
	user     string
	password string
	hosts    []string // host:port
	db       int
	params   map[string]string
	tls      *tls.Config // nil = no TLS
}

// parse takes a URL apart. Its errors quote nothing of the URL but the names of
// files, as any other part can be a piece of a password that was not escaped.
// url.Parse does quote, and refuses lists of hosts, so it does not do here.
func parse(rawURL string) (*endpoint, error) {
	rawURL = strings.TrimSpace(rawURL)
	if rest, ok := strings.CutPrefix(rawURL, "embedded"); ok && (rest == "" || rest[0] == ':') {
		return parseEmbedded(rest)
	}
	e := &endpoint{params: map[string]string{}}
	rest, err := e.parseScheme(rawURL)
	if err != nil {
		return nil, err
	}
	authority, rest := cutAny(rest, "/?#")
	if strings.Contains(rest, "@") {
		return nil, errors.New("has an @ behind the host: in a user name or password write / as %2F, ? as %3F and # as %23, and behind the host @ as %40")
	}
	path, query := cutAny(rest, "?#")
	if strings.Contains(query, "#") {
		return nil, errors.New("has a fragment: write # as %23")
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if err := e.parseUser(authority[:at]); err != nil {
			return nil, err
		}
		authority = authority[at+1:]
	}
	if err := e.parseHosts(authority); err != nil {
		return nil, err
	}
	if err := e.parseDB(strings.TrimPrefix(path, "/")); err != nil {
		return nil, err
	}
	if err := e.parseParams(strings.TrimPrefix(query, "?")); err != nil {
		return nil, err
	}
	return e, e.readTLSFiles()
}

// cutAny cuts s before the first of chars.
func cutAny(s, chars string) (before, rest string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

func parseEmbedded(port string) (*endpoint, error) {
	if port == "" {
		port = ":" + redisPort
	}
	if _, err := strconv.ParseUint(port[1:], 10, 16); err != nil {
		return nil, errors.New("is no embedded:PORT with a port from 0 to 65535")
	}
	return &endpoint{topology: embedded, scheme: "redis", hosts: []string{"127.0.0.1" + port}}, nil
}

func (e *endpoint) parseScheme(rawURL string) (rest string, err error) {
	name, rest, _ := strings.Cut(rawURL, "://")
	scheme, known := schemes[name]
	if !known {
		return "", errors.New("has no known scheme (known: " + knownForms + ")")
	}
	e.scheme, e.topology = name, scheme.topology
	if scheme.tls {
		e.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return rest, nil
}

func (e *endpoint) parseUser(info string) error {
	user, password, _ := strings.Cut(info, ":")
	var badUser, badPassword error
	e.user, badUser = url.PathUnescape(user)
	e.password, badPassword = url.PathUnescape(password)
	if badUser != nil || badPassword != nil {
		return errors.New("has a % that is no escape in the user name or password: write it as %25")
	}
	if e.user != "" && e.password == "" {
		return errors.New("has a user name without a password") // go-redis would log in as nobody
	}
	return nil
}

func (e *endpoint) parseHosts(list string) error {
	defaultPort := redisPort
	if e.topology == sentinel {
		defaultPort = sentinelPort
	}
	for i, host := range strings.Split(list, ",") {
		name, port := host, defaultPort
		if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
			name, port = host[:colon], host[colon+1:]
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("has no port from 1 to 65535 in host %d", i+1)
		}
		if !validHost(name) {
			return fmt.Errorf("has no valid host %d (an IPv6 address stands in [])", i+1)
		}
		e.hosts = append(e.hosts, name+":"+port)
	}
	if e.topology == single && len(e.hosts) > 1 {
		return errors.New("has several hosts: that is for redis-sentinel:// and redis-cluster://")
	}
	return nil
}

func validHost(name string) bool {
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && net.ParseIP(inner) != nil
	}
	return name != "" && !strings.ContainsAny(name, " \t[]%\\:")
}

func (e *endpoint) parseDB(path string) error {
	if path == "" {
		return nil
	}
	db, err := strconv.ParseUint(path, 10, 16)
	if err != nil {
		return errors.New("has a path that is no database number")
	}
	if e.topology == cluster && db != 0 {
		return errors.New("has a database number: a cluster has only database 0")
	}
	e.db = int(db)
	return nil
}

func (e *endpoint) parseParams(query string) error {
	var known []string
	if e.topology == sentinel {
		known = append(known, sentinelParams...)
	}
	if e.tls != nil {
		known = append(known, tlsParams...)
	}
	for i, param := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' }) {
		name, escaped, _ := strings.Cut(param, "=")
		if !slices.Contains(known, name) {
			return fmt.Errorf("has an unknown query parameter, number %d (known with %s: %s)",
				i+1, e.scheme, cmp.Or(strings.Join(known, ", "), "none"))
		}
		value, err := url.QueryUnescape(escaped)
		if err != nil || value == "" || e.params[name] != "" {
			return fmt.Errorf("has the query parameter %q empty, twice, or with a %% that is no escape", name)
		}
		e.params[name] = value
	}
	if e.topology == sentinel && e.params["master"] == "" {
		return errors.New("has no master=NAME, which the sentinels have to be asked for")
	}
	if e.params["sentinel_user"] != "" && e.params["sentinel_password"] == "" {
		return errors.New("has a sentinel_user without a sentinel_password")
	}
	return nil
}

// readTLSFiles reads the certificate authorities to trust instead of those of
// the system, and the certificate to show.
func (e *endpoint) readTLSFiles() error {
	if ca := e.params["ca"]; ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return fmt.Errorf("has a bad ca: %w", err)
		}
		e.tls.RootCAs = x509.NewCertPool()
		if !e.tls.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("has a bad ca: %s has no certificate in PEM form", ca)
		}
	}
	cert, key := e.params["cert"], e.params["key"]
	if cert == "" && key == "" {
		return nil
	}
	if cert == "" || key == "" {
		return errors.New("has only one of cert and key")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("has a bad cert or key: %w", err)
	}
	e.tls.Certificates = []tls.Certificate{pair}
	return nil
}

// String is the URL without any secret.
func (e *endpoint) String() string {
	u := url.URL{Scheme: e.scheme, Host: strings.Join(e.hosts, ","), Path: "/" + strconv.Itoa(e.db)}
	if e.topology == cluster {
		u.Path = ""
	}
	if master := e.params["master"]; master != "" {
		u.RawQuery = "master=" + url.QueryEscape(master)
	}
	return u.String()
}
