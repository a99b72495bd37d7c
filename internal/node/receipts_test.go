// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

var (
	thatBlock = common.Hash{0xb1}
	thatTx    = common.Hash{0x77}
)

// receiptWith is a good receipt with one member's text replaced, or left out if
// text is empty; another member is added.
func receiptWith(name, text string) string {
	members := [][2]string{
		{"transactionHash", `"` + thatTx.Hex() + `"`},
		{"blockHash", `"` + thatBlock.Hex() + `"`},
		{"blockNumber", `"0x10"`},
		{"transactionIndex", `"0x2"`},
		{"from", `"0x` + strings.Repeat("aA", 20) + `"`},
		{"to", `null`},
		{"contractAddress", `"0x` + strings.Repeat("cc", 20) + `"`},
		{"status", `"0x1"`},
		{"gasUsed", `"0x5208"`},
		{"effectiveGasPrice", `"0x77359400"`},
		{"logs", `[{"a":[]}]`},
		{"logsBloom", `"0x00"`},
	}
	var b strings.Builder
	found := false
	for _, m := range members {
		if m[0] == name {
			found = true
			if m[1] = text; text == "" {
				continue
			}
		}
		b.WriteString(`, "` + m[0] + `" : ` + m[1])
	}
	if !found {
		b.WriteString(`,"` + name + `":` + text)
	}
	return "{" + b.String()[1:] + "}"
}

func TestReceiptsAreReadOrRefused(t *testing.T) {
	const bad, price = "bad", `"0x` + "10000000000000000" + `"`
	for _, c := range []struct{ name, text, want string }{
		{"other", `1`, ""},
		{"to", `"0x` + strings.Repeat("dd", 20) + `"`, ""},
		{"to", ``, ""},
		{"from", `null`, ""},
		{"effectiveGasPrice", ``, ""},
		{"effectiveGasPrice", price, ""},
		{"status", `"0x0"`, ""},
		{"transactionHash", ``, bad},
		{"transactionHash", `null`, bad},
		{"transactionHash", `"0x12"`, bad},
		{"transactionHash", `"0x` + strings.Repeat("zz", 32) + `"`, bad},
		{"transactionHash", `"` + thatTx.Hex()[2:] + `00"`, bad},
		{"transactionHash", `[]`, bad},
		{"blockHash", ``, bad},
		{"blockHash", `"` + thatTx.Hex() + `"`, bad},
		{"blockNumber", ``, bad},
		{"blockNumber", `16`, bad},
		{"blockNumber", `"0x8000000000000000"`, bad},
		{"transactionIndex", `"2"`, bad},
		{"from", `"0x12"`, bad},
		{"to", `"0x12"`, bad},
		{"to", `{}`, bad},
		{"contractAddress", `""`, bad},
		{"status", ``, bad},
		{"status", `null`, bad},
		{"status", `"0x2"`, bad},
		{"status", `true`, bad},
		{"gasUsed", `-1`, bad},
		{"effectiveGasPrice", `"0x` + strings.Repeat("f", 65) + `"`, bad},
		{"effectiveGasPrice", `5`, bad},
	} {
		text := receiptWith(c.name, c.text)
		list, err := scanReceipts([]byte("["+text+"]"), thatBlock, nil)
		if c.want == bad {
			if !errors.Is(err, ErrBadResponse) {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err != nil || len(list) != 1 || list[0].TxHash != thatTx || list[0].Index != 2 || list[0].GasUsed != 0x5208 {
			t.Errorf("%s: %+v %v", text, list, err)
		}
	}
	pre658 := strings.Replace(receiptWith("status", ""), "}", `}`, 1)
	pre658 = pre658[:len(pre658)-1] + `,"root":"0x01"}`
	if list, err := scanReceipts([]byte("["+pre658+"]"), thatBlock, nil); err != nil || list[0].Status != 1 {
		t.Error(pre658, err)
	}
	for _, text := range []string{
		``, `{}`, `[`, `[{}]`, `[null]`, `[1]`, `[[]]`, `["x"]`, `[` + receiptWith("x", "1"), `[` + receiptWith("x", "1") + `,]`,
		`[` + receiptWith("x", "1") + `]x`, `[` + receiptWith("x", "01") + `]`, `[` + strings.Replace(receiptWith("x", "1"), `"x"`, `"status"`, 1) + `]`,
	} {
		if _, err := scanReceipts([]byte(text), thatBlock, nil); !errors.Is(err, ErrBadResponse) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if list, err := scanReceipts([]byte(` [ ] `), thatBlock, nil); err != nil || list != nil {
		t.Error(list, err)
	}
}

// TestUnwantedReceiptsAreOnlyPlaced makes sure that a receipt which nobody wants
// is still one of the block, whatever else it says.
func TestUnwantedReceiptsAreOnlyPlaced(t *testing.T) {
	other := common.Hash{0x78}
	wanted := receiptWith("x", "1")
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"odd status":    {strings.Replace(receiptWith("status", `"0x7"`), thatTx.Hex(), other.Hex(), 1), true},
		"other block":   {strings.Replace(receiptWith("blockHash", `"`+other.Hex()+`"`), thatTx.Hex(), other.Hex(), 1), false},
		"without hash":  {receiptWith("transactionHash", ""), false},
		"without block": {strings.Replace(receiptWith("blockHash", ""), thatTx.Hex(), other.Hex(), 1), false},
		"not JSON":      {strings.Replace(receiptWith("logs", "[01]"), thatTx.Hex(), other.Hex(), 1), false},
	} {
		list, err := scanReceipts([]byte("["+c.text+","+wanted+"]"), thatBlock, func(h common.Hash) bool { return h == thatTx })
		if !c.ok && !errors.Is(err, ErrBadResponse) || c.ok && (err != nil || len(list) != 1 || list[0].TxHash != thatTx) {
			t.Errorf("%s: %v %v", name, list, err)
		}
	}
}

// FuzzReceiptsAndBlocks makes sure that what is read of a receipt or block is
// what encoding/json reads of it.
func FuzzReceiptsAndBlocks(f *testing.F) {
	f.Add([]byte("[" + receiptWith("x", "1") + "]"))
	f.Add([]byte("[" + receiptWith("to", `"0x`+strings.Repeat("dd", 20)+`"`) + "]"))
	f.Add([]byte(`{"number":"0x1","hash":"` + thatBlock.Hex() + `","baseFeePerGas":"0x7","excessBlobGas":"0x0","transactions":["` + thatTx.Hex() + `"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), `\`) {
			return // names with escapes are the one thing that we do not read as encoding/json does
		}
		if list, err := scanReceipts(text, thatBlock, nil); err == nil {
			var want []map[string]json.RawMessage
			if err := json.Unmarshal(text, &want); err != nil || len(want) != len(list) {
				t.Fatalf("%q is read, but encoding/json says %v", text, err)
			}
			for i, r := range list {
				var hash common.Hash
				var number Uint64
				if json.Unmarshal(want[i]["transactionHash"], &hash) != nil || hash != r.TxHash ||
					json.Unmarshal(want[i]["blockNumber"], &number) != nil || uint64(number) != r.BlockNumber {
					t.Fatalf("%q: %+v", text, r)
				}
			}
		}
		var b Block
		if b.UnmarshalJSON(text) == nil {
			var want map[string]json.RawMessage
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatalf("%q is read, but encoding/json says %v", text, err)
			}
			var txs []common.Hash
			var number Uint64
			if raw := want["transactions"]; raw != nil && json.Unmarshal(raw, &txs) != nil || len(txs) != len(b.Transactions) ||
				json.Unmarshal(want["number"], &number) != nil || uint64(number) != b.Number {
				t.Fatalf("%q: %+v", text, b)
			}
			for i := range txs {
				if txs[i] != b.Transactions[i] {
					t.Fatalf("%q: %+v", text, b)
				}
			}
		}
	})
}
