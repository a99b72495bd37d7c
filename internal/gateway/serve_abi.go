// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

// ABIInfo is an interface as it is shown.
type ABIInfo struct {
	ID          string    `json:"id"`
	Created     time.Time `json:"created"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Path        string    `json:"path"`
	Deployable  bool      `json:"deployable"`
	OpenAPI     string    `json:"openapi"`
	Compiler    string    `json:"compilerVersion"`
}

func (q *request) abiInfo(a contract.ABI) ABIInfo {
	path := q.Base + "/abis/" + a.ID
	return ABIInfo{
		ID: a.ID, Created: a.Created.UTC(), Name: a.Name, Description: a.Description, Path: path,
		Deployable: a.Deployable, OpenAPI: path + "?openapi", Compiler: a.Compiler,
	}
}

// page reads limit and after.
func (q *request) page() (after string, limit int, err error) {
	after = q.query.Get("after")
	if len(after) > 64 {
		return "", 0, bad("after: want the id of the last one of the page before")
	}
	limit, err = q.number("limit", 0, 200)
	return after, limit, err
}

func (q *request) number(name string, least, most int) (int, error) {
	if !q.query.Has(name) {
		return 0, nil
	}
	n, err := strconv.Atoi(q.query.Get(name))
	if err != nil || n < least || n > most {
		return 0, bad("%s: want a number from %d to %d, got %s", name, least, most, quote(q.query.Get(name)))
	}
	return n, nil
}

func listABIs(q *request) (answer, error) {
	after, limit, err := q.page()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := q.context()
	defer cancel()
	all, err := q.h.cfg.Book.ABIs(ctx, q.Place, after, limit)
	list := make([]ABIInfo, len(all))
	for i, a := range all {
		list[i] = q.abiInfo(a)
	}
	return ok(list), err
}

// abi finds the interface that the path names.
func (q *request) abi(ctx context.Context) (contract.ABI, error) {
	return q.h.cfg.Book.ABI(ctx, q.Place, q.path["abi"])
}

func showABI(q *request) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	a, err := q.abi(ctx)
	if err != nil {
		return answer{}, err
	}
	return q.documents(a, nil, "", "/abis/"+a.ID, ok(q.abiInfo(a)))
}

func deleteABI(q *request) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	err := q.h.cfg.Book.DeleteABI(ctx, q.Principal, q.Place, q.path["abi"])
	return answer{status: http.StatusNoContent}, err
}

// uploadABI keeps an interface: JSON of a compiler, or a form.
func uploadABI(q *request) (answer, error) {
	u, err := q.upload()
	if err != nil {
		return answer{}, err
	}
	for name, to := range map[string]*string{"name": &u.Name, "description": &u.Description} {
		if q.query.Has(name) {
			*to = q.query.Get(name)
		}
	}
	ctx, cancel := q.context()
	defer cancel()
	a, err := q.h.cfg.Book.Upload(ctx, q.Principal, q.Place, u)
	if err != nil {
		return answer{}, err
	}
	made := ok(q.abiInfo(a))
	made.location = q.Base + "/abis/" + a.ID
	return made, nil
}

func (q *request) upload() (contract.Upload, error) {
	media, parameters, err := mime.ParseMediaType(q.r.Header.Get("Content-Type"))
	if err != nil || media != mediaJSON && media != mediaMultipart {
		return contract.Upload{}, refuse(http.StatusUnsupportedMediaType, "want the header Content-Type: application/json, or multipart/form-data, got %s", quote(strings.Join(q.r.Header["Content-Type"], ", ")))
	}
	data, err := q.readBody(q.h.cfg.Upload)
	if err == nil {
		err = checkParts(data)
	}
	switch {
	case err != nil:
		return contract.Upload{}, err
	case media == mediaJSON:
		return readUpload(data)
	}
	return formUpload(data, parameters["boundary"])
}

// readUpload reads an artifact, beside which a name and a description may stand.
func readUpload(data []byte) (contract.Upload, error) {
	u, err := contract.ParseArtifact(data)
	if err != nil {
		return u, err
	}
	beside := topMembers(data, "name", "description")
	for name, to := range map[string]*string{"name": &u.Name, "description": &u.Description} {
		if written := beside[name]; len(written) > 0 && written[0] == '"' {
			text, err := strictjson.Parse(written)
			if err != nil {
				return u, bad("%s is %s", name, cut(err.Error()))
			}
			*to = text.Text
		}
	}
	return u, nil
}

// compiling are fields of forms by which ethconnect is told how to compile.
func compiling() []string {
	return []string{"compiler", "evm", "source", "contract", "findsolidity", "findcontracts"}
}

// form is a form as it is read.
type form struct {
	fields map[string]string
	file   []byte
}

// formUpload reads a form: the fields abi and bytecode, or a file that a compiler
// has written; name and description.
func formUpload(data []byte, boundary string) (contract.Upload, error) {
	f, err := readForm(data, boundary)
	if err != nil {
		return contract.Upload{}, err
	}
	var u contract.Upload
	switch text, is := f.fields["abi"]; {
	case f.file != nil && is:
		return u, bad("there is a file and the field abi: want one of them")
	case f.file != nil:
		if u, err = contract.ParseArtifact(f.file); err != nil {
			return u, err
		}
	case is:
		u.ABI = json.RawMessage(text)
		if code, given := f.fields["bytecode"]; given {
			if u.Bytecode, err = hex.DecodeString(strings.TrimPrefix(strings.TrimSpace(code), "0x")); err != nil {
				return u, bad("bytecode: want hex digits, an even number of them, without places of libraries to be linked")
			}
		}
	default:
		return u, bad("abi: is missing: want the field abi, with bytecode beside it, or a file that a compiler has written")
	}
	if name, given := f.fields["name"]; given {
		u.Name = name
	}
	if text, given := f.fields["description"]; given {
		u.Description = text
	}
	return u, nil
}

func readForm(data []byte, boundary string) (form, error) {
	const most = 16 // parts
	f := form{fields: map[string]string{}}
	r := multipart.NewReader(bytes.NewReader(data), boundary)
	for range most {
		part, err := r.NextRawPart()
		if err == io.EOF { //nolint:errorlint // wrapped, it is the end of a form that was cut off
			return f, nil
		}
		if err != nil {
			return f, bad("the body cannot be read as a form")
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return f, bad("the form ends in the middle of a part")
		}
		if err := f.add(part.FormName(), part.FileName(), text); err != nil {
			return f, err
		}
	}
	return f, bad("the form has more than %d parts", most-1)
}

func (f *form) add(name, file string, text []byte) error {
	lower := strings.ToLower(name)
	switch {
	case slices.Contains(compiling(), lower):
		return bad("%s: nothing is compiled here: compile it, with Hardhat, Foundry or solc, and upload what the compiler has written", lower)
	case lower == "abi" || lower == "bytecode" || lower == "name" || lower == "description":
		if _, twice := f.fields[lower]; twice {
			return bad("%s: is given twice", lower)
		}
		f.fields[lower] = string(text)
	case file == "":
		return bad("%s: there is no such field: want abi, bytecode, name, description, or a file", quote(name))
	case f.file != nil:
		return bad("there is more than one file: want the one that the compiler has written of the contract")
	default:
		f.file = append([]byte{}, text...)
	}
	return nil
}

func deployABI(q *request) (answer, error) {
	args, err := q.args()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), q.h.cfg.SendTimeout)
	defer cancel()
	a, err := q.abi(ctx)
	if err != nil {
		return answer{}, err
	}
	if !a.Deployable {
		return answer{}, refuse(http.StatusConflict, "the interface %s has no bytecode, so it cannot be deployed: upload it with its bytecode, or register a contract that is there", a.ID)
	}
	n := contract.Deployment{ABI: a, Args: args, Name: q.register}
	if kind, is := token.KindOf(a.Contract); is {
		n.Kind = string(kind)
	}
	return q.deploy(ctx, n)
}

// instance is the address in the path.
func (q *request) instance() (common.Address, error) {
	address, good := parseAddress(q.path["address"])
	if !good {
		return address, bad("%s: want the address of a contract, 0x and 40 hex digits", quote(q.path["address"]))
	}
	return address, nil
}

func registerContract(q *request) (answer, error) {
	address, err := q.instance()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := q.context()
	defer cancel()
	a, err := q.abi(ctx)
	if err != nil {
		return answer{}, err
	}
	n := contract.Registration{ABI: a.ID, Address: address, Name: q.register}
	if kind, is := token.KindOf(a.Contract); is {
		n.Kind = string(kind)
	}
	c, created, err := q.h.cfg.Desk.Register(ctx, q.target(), n)
	if err != nil {
		return answer{}, err
	}
	made := ok(q.contractInfo(c))
	if created {
		made.status, made.location = http.StatusCreated, q.Base+"/contracts/"+lower(address)
	}
	return made, nil
}

func showInstance(q *request) (answer, error) {
	address, err := q.instance()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := q.context()
	defer cancel()
	a, err := q.abi(ctx)
	if err != nil {
		return answer{}, err
	}
	info := q.contractInfo(contract.Contract{Address: &address, ABI: a.ID})
	info.Path = q.Base + "/abis/" + a.ID + "/" + lower(address)
	info.OpenAPI = info.Path + "?openapi"
	return q.documents(a, &address, "", "/abis/"+a.ID+"/"+lower(address), ok(info))
}

func callInstance(q *request) (answer, error) {
	address, err := q.instance()
	if err != nil {
		return answer{}, err
	}
	return q.invoke(q.path["method"], func(ctx context.Context) (contract.ABI, common.Address, error) {
		a, err := q.abi(ctx)
		return a, address, err
	})
}

// subscribeOrCall is for a path that is either: what has the form of an address is
// one.
func subscribeOrCall(q *request) (answer, error) {
	if _, is := parseAddress(q.path["event"]); is {
		q.path["address"], q.path["method"] = q.path["event"], "subscribe"
		return callInstance(q)
	}
	if q.r.Method != http.MethodPost {
		e := refuse(http.StatusMethodNotAllowed, "this path takes POST")
		e.allow = http.MethodPost
		return answer{}, e
	}
	if !q.MayChange {
		return answer{}, mayNotChange()
	}
	return q.subscribe(func(ctx context.Context) (contract.ABI, *common.Address, error) {
		a, err := q.abi(ctx)
		return a, nil, err
	})
}

func subscribeInstance(q *request) (answer, error) {
	address, err := q.instance()
	if err != nil {
		return answer{}, err
	}
	return q.subscribe(func(ctx context.Context) (contract.ABI, *common.Address, error) {
		a, err := q.abi(ctx)
		return a, &address, err
	})
}

// entry is the ABI entry of an event, as it was uploaded.
func entry(a contract.ABI, e *abi.Event) (strictjson.Value, error) {
	all, err := strictjson.Parse(a.Document)
	if err != nil {
		return strictjson.Value{}, err
	}
	for _, v := range all.Elems {
		if v.Get("type").Text != "event" {
			continue
		}
		if one, err := abi.ParseEvent(v.AppendTo(nil)); err == nil && one.Signature() == e.Signature() {
			return v, nil
		}
	}
	return strictjson.Value{}, errors.New("the event is not in the interface that it was found in")
}
