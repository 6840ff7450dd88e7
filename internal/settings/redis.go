package settings

import "regexp"

// defaultRedisURL is what the tag of Redis.URL says.
const defaultRedisURL = "redis://127.0.0.1:6379/0"

var namespace = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Read returns the Redis URL and the namespace. check says whether a URL can
// be one, without showing a password in its error.
func (r Redis) Read(f *Faults, check func(url string) error) (url, prefix string) {
	url = f.Secret("REDIS_URL", r.URL, defaultRedisURL, r.URLFile)
	if url != "" {
		f.AddError("REDIS_URL", check(url))
	}
	if !namespace.MatchString(r.Namespace) {
		f.Add("NAMESPACE", "%q must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit", r.Namespace)
	}
	return url, r.Namespace
}
