package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"strings"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/dockerfile"
)

// secret is where the value of --secret is: in a variable of the environment or in a file.
type secret struct{ variable, file string }

// secrets are those of --secret, by id. They are read when they are asked for.
type secrets map[string]secret

// Secret is that of dockerfile.Secrets.
func (s secrets) Secret(ctx context.Context, id string) ([]byte, error) {
	from, ok := s[id]
	if !ok {
		return nil, dockerfile.ErrNoSecret
	}
	if from.file == "" {
		return []byte(os.Getenv(from.variable)), nil
	}
	return foreign.ReadNamed(ctx, from.file, foreign.MaxSecret)
}

// readSecrets reads --secret, in the forms of docker and buildah:
// id=ID[,src=FILE|,env=NAME][,type=file|env]. Without a source it is the variable ID, or
// else the file ID.
func readSecrets(texts []string) (secrets, error) {
	all := secrets{}
	for _, text := range texts {
		id, s, err := readSecret(text)
		if err != nil {
			return nil, err
		}
		if s.file != "" {
			if _, err := os.Stat(s.file); err != nil {
				return nil, fmt.Errorf("--secret id=%s: %w", id, err)
			}
		}
		all[id] = s
	}
	return all, nil
}

func readSecret(text string) (id string, s secret, err error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return "", s, usagef("--secret %q: %v", text, err)
	}
	kind, source := "", ""
	for _, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		switch strings.ToLower(key) {
		case "id":
			id = value
		case "src", "source":
			source = value
		case "env":
			s.variable = value
		case "type":
			kind = value
		default:
			return "", s, usagef("--secret %q: %q is none of id=ID, src=FILE, env=NAME and type=file|env", text, field)
		}
	}
	switch {
	case id == "":
		return "", s, usagef("--secret %q: id=ID is missing", text)
	case kind != "" && kind != "file" && kind != "env":
		return "", s, usagef("--secret %q: type is file or env", text)
	case source != "" && s.variable != "", kind == "file" && s.variable != "":
		return "", s, usagef("--secret %q: it is a variable or a file, not both", text)
	}
	if source == "" && s.variable == "" {
		source = id
		if _, ok := os.LookupEnv(id); ok && kind == "" {
			kind = "env"
		}
	}
	if kind == "env" && s.variable == "" {
		return id, secret{variable: source}, nil
	}
	s.file = source
	return id, s, nil
}

// readSSH reads --ssh, ID[=SOCKET]; without a socket it is that of SSH_AUTH_SOCK.
func readSSH(texts []string) (map[string]string, error) {
	agents := map[string]string{}
	for _, text := range texts {
		id, socket, given := strings.Cut(text, "=")
		if id == "" || given && socket == "" {
			return nil, usagef("--ssh %q: it is ID or ID=SOCKET, and ID is mostly default", text)
		}
		if !given {
			if socket = os.Getenv("SSH_AUTH_SOCK"); socket == "" {
				return nil, fmt.Errorf("--ssh %s: SSH_AUTH_SOCK is not set; start an agent, or name its socket: --ssh %s=SOCKET", id, id)
			}
		}
		info, err := os.Stat(socket)
		if err != nil {
			return nil, fmt.Errorf("--ssh %s: %w", id, err)
		}
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("--ssh %s: %s is not the socket of an agent; add a key to an agent by ssh-add, and name that", id, socket)
		}
		agents[id] = socket
	}
	return agents, nil
}
