package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/limits"
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
	return foreign.ReadNamed(ctx, from.file, limits.MaxSecret)
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
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("--secret id=%s: %w", id, err)
		}
		all[id] = s
	}
	return all, nil
}

// check finds what is wrong with a secret before anything is done. A pipe, which can be read
// but once, is not opened.
func (s secret) check() error {
	if s.file == "" {
		if len(os.Getenv(s.variable)) > limits.MaxSecret {
			return &limits.LimitError{Name: "the variable " + s.variable, Limit: limits.MaxSecret, Unit: "bytes"}
		}
		return nil
	}
	info, err := os.Stat(s.file)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory", s.file)
	case info.Mode().IsRegular() && info.Size() > limits.MaxSecret:
		return &limits.LimitError{Name: s.file, Limit: limits.MaxSecret, Unit: "bytes"}
	}
	return unix.Access(s.file, unix.R_OK)
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

// readSSH reads --ssh, ID[=SOCKET|KEY[,KEY]]; without a value it is the socket of SSH_AUTH_SOCK.
func readSSH(texts []string) (map[string]dockerfile.Agent, error) {
	agents := map[string]dockerfile.Agent{}
	for _, text := range texts {
		id, paths, given := strings.Cut(text, "=")
		if id == "" || given && paths == "" {
			return nil, usagef("--ssh %q: it is ID, ID=SOCKET or ID=KEY[,KEY], and ID is mostly default", text)
		}
		if _, twice := agents[id]; twice {
			return nil, usagef("--ssh %q: %s is given twice", text, id)
		}
		if !given {
			if paths = os.Getenv("SSH_AUTH_SOCK"); paths == "" {
				return nil, fmt.Errorf("--ssh %s: SSH_AUTH_SOCK is not set; start an agent, or name its socket or a key: --ssh %s=SOCKET", id, id)
			}
		}
		agent, err := readAgent(paths, given)
		if err != nil {
			return nil, fmt.Errorf("--ssh %s: %w", id, err)
		}
		agents[id] = agent
	}
	return agents, nil
}

// readAgent finds out what the paths of --ssh name: a socket, or keys.
func readAgent(paths string, list bool) (dockerfile.Agent, error) {
	var agent dockerfile.Agent
	names := []string{paths}
	if list {
		names = strings.Split(paths, ",")
	}
	for _, name := range names {
		if on, isRaw := strings.CutPrefix(name, "raw="); isRaw && list {
			if on != "false" {
				return agent, fmt.Errorf("raw=%s: only the socket of an agent can be given", on)
			}
			continue
		}
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return agent, err
		case info.Mode().Type() == os.ModeSocket && agent.Socket == "" && agent.Keys == nil:
			agent.Socket = name
		case info.Mode().Type() == os.ModeSocket || agent.Socket != "":
			return agent, fmt.Errorf("%s: give the one socket of an agent, or keys", paths)
		case !info.Mode().IsRegular():
			return agent, fmt.Errorf("%s is neither the socket of an agent nor the file of a key", name)
		default:
			if err := unix.Access(name, unix.R_OK); err != nil {
				return agent, fmt.Errorf("%s: %w", name, err)
			}
			agent.Keys = append(agent.Keys, name)
		}
	}
	if agent.Socket == "" && agent.Keys == nil {
		return agent, errors.New("it names neither a socket nor a key")
	}
	return agent, nil
}

// secretFlag and sshFlag are those of build and run; what they are for follows their forms.
func secretFlag(what string) cli.Flag {
	return &cli.StringSliceFlag{Name: "secret", Usage: "`id=ID[,src=FILE|,env=NAME]` " + what + ": of a file or a variable; of the variable ID or the file ID without either; repeatable"}
}

func sshFlag(what string) cli.Flag {
	return &cli.StringSliceFlag{Name: "ssh", Usage: "`ID[=SOCKET|=KEY[,KEY]]` " + what + ": that of SSH_AUTH_SOCK, or of a socket, or one of files of private keys; the ID is mostly default; repeatable"}
}
