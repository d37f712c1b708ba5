package authfile

import (
	"encoding/json"
	"fmt"
	"os"
)

// InMemory writes logins, by repository, to an auth file that is on no disk. It is read at
// path by this process alone, until done is called.
func InMemory(logins map[string]Login) (path string, done func(), err error) {
	data, err := authJSON(logins)
	if err != nil {
		return "", nil, err
	}
	f, err := inMemory("auth.json", data)
	if err != nil {
		return "", nil, err
	}
	return memoryPath(f), func() { f.Close() }, nil
}

// authJSON is an auth file with logins.
func authJSON(logins map[string]Login) ([]byte, error) {
	type entry struct {
		Auth          []byte `json:"auth"` // base64 in JSON
		IdentityToken string `json:"identitytoken,omitempty"`
	}
	auths := map[string]entry{}
	for repository, l := range logins {
		auths[repository] = entry{[]byte(l.Username + ":" + l.Password), l.IdentityToken}
	}
	return json.Marshal(map[string]any{"auths": auths})
}

func memoryPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
