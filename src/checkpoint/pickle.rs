//! A pickle machine that executes nothing. It knows the instructions and the few names that dictionaries of tensors are
//! made of; every other name is refused before anything could be done with it.

use super::element_type::ElementType;
use crate::error::{Error, Result};
use std::collections::HashMap;

/// Instructions and names of a checkpoint of a hundred thousand tensors.
pub(super) const LONGEST: usize = 1 << 24;
/// Values that a checkpoint of a hundred thousand tensors makes. Each takes at most 40 bytes or so.
const MOST_BUILT: usize = 1 << 23;
/// Values that have the size of a tensor without its axes, here and in the table that is made of it.
const TENSOR: usize = 16;
/// More axes than any tensor has.
const MOST_AXES: usize = 16;

/// A value on the machine's stack. What is larger than a number is a [`Node`] or a piece of the pickle, so that a value
/// used a million times takes no more room than a million numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// None, a truth, a float, bytes, a set, a device, an element type: what no tensor is made of.
    Other,
    Integer(i64),
    Text(Text),
    Name(Name),
    Node(usize),
}

/// A piece of the pickle that is text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    // A pickle has no more than LONGEST bytes.
    start: u32,
    len: u32,
}

impl Text {
    fn of(self, pickle: &[u8]) -> &str {
        std::str::from_utf8(&pickle[self.start as usize..][..self.len as usize]).unwrap_or_default()
    }
}

/// The names that a checkpoint of tensors needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// torch.Size: a tuple.
    Size,
    Storage(ElementType),
    /// torch.device, torch.float32 and their like.
    Inert,
}

/// What values point to.
#[derive(Debug)]
pub(super) enum Node {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage { of: ElementType, key: Text, elements: usize },
    Tensor(Box<Tensor>),
}

/// A tensor: sizes and strides over a storage's elements. Nothing of it is checked against the storage yet.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) of: ElementType,
    pub(super) key: Text,
    /// Elements of the storage.
    pub(super) elements: usize,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A pickle that was run.
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    nodes: Vec<Node>,
    pub(super) root: Value,
}

impl<'a> Pickle<'a> {
    /// Runs a pickle to its end. Errors do not name the file.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the instruction, or the name that a checkpoint of tensors does not need.
    pub(super) fn run(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > LONGEST {
            return Err(Error::input(format!("a pickle of {} bytes, expected at most {LONGEST}", bytes.len())));
        }
        let mut machine = Machine {
            bytes,
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            nodes: Vec::new(),
            in_nodes: 0,
        };
        // A value is written in a byte at least, and may then be in a list and in a dictionary of that list's pairs.
        let most = (2 * bytes.len() + 1024).min(MOST_BUILT);
        let begun = |at: usize| bytes.get(at).map_or("its end".into(), |code| format!("instruction {code:#04x}"));
        loop {
            let at = machine.at;
            match machine.step() {
                // No step builds more than there was before it.
                Ok(None) if machine.built() <= most => {}
                Ok(None) => {
                    let bytes = bytes.len();
                    return Err(Error::input(format!("a pickle of {bytes} bytes that builds more than {most} values")));
                }
                Ok(Some(root)) => return Ok(Self { bytes, nodes: machine.nodes, root }),
                Err(Stop::Refused(why)) => return Err(Error::input(why)),
                Err(Stop::Broken(why)) => {
                    return Err(Error::input(format!("a broken pickle: {} at byte {at}: {why}", begun(at))));
                }
            }
        }
    }

    /// A text of the pickle.
    pub(super) fn text(&self, text: Text) -> &'a str {
        text.of(self.bytes)
    }

    /// The node behind a value.
    pub(super) fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(index),
            _ => None,
        }
    }
}

/// Why the machine stops early.
enum Stop {
    /// The pickle does what this machine does not do.
    Refused(String),
    /// It is no pickle, or a damaged one.
    Broken(&'static str),
}

type Done<T> = std::result::Result<T, Stop>;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    nodes: Vec<Node>,
    /// Values in all nodes.
    in_nodes: usize,
}

const CUT_OFF: Stop = Stop::Broken("it is cut off");
const EMPTY: Stop = Stop::Broken("nothing is on the stack");

impl<'a> Machine<'a> {
    fn take(&mut self, len: usize) -> Done<&'a [u8]> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..len)).ok_or(CUT_OFF)?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Done<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| CUT_OFF)
    }

    /// Lengths and numbers of 1, 2, 4 or 8 bytes.
    fn unsigned(&mut self, bytes: usize) -> Done<usize> {
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(self.take(bytes)?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| CUT_OFF)
    }

    fn text(&mut self, len: usize) -> Done<Text> {
        let start = self.at as u32;
        std::str::from_utf8(self.take(len)?).map_err(|_| Stop::Broken("its text is not UTF-8"))?;
        Ok(Text { start, len: len as u32 })
    }

    /// A line of text, without its end.
    fn line(&mut self) -> Done<&'a str> {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or(CUT_OFF)?;
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).map_err(|_| Stop::Broken("its text is not UTF-8"))
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    /// Values that are kept anywhere, which memory is proportional to.
    fn built(&self) -> usize {
        self.stack.len() + self.marks.len() + self.memo.len() + self.nodes.len() + self.in_nodes
    }

    fn push_node(&mut self, node: Node) {
        self.in_nodes += match &node {
            Node::Tuple(values) | Node::List(values) => values.len(),
            Node::Dict(entries) => 2 * entries.len(),
            Node::Storage { .. } => 0,
            Node::Tensor(tensor) => TENSOR + 2 * tensor.shape.len(),
        };
        self.push(Value::Node(self.nodes.len()));
        self.nodes.push(node);
    }

    /// The stack's last value; marks hide what is below them.
    fn pop(&mut self) -> Done<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(EMPTY);
        }
        self.stack.pop().ok_or(EMPTY)
    }

    fn top(&self) -> Done<Value> {
        self.stack.last().copied().ok_or(EMPTY)
    }

    fn pop_to_mark(&mut self) -> Done<Vec<Value>> {
        let mark = self.marks.pop().ok_or(Stop::Broken("there is no mark"))?;
        if mark > self.stack.len() {
            return Err(EMPTY);
        }
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, len: usize) -> Done<()> {
        let mut values = Vec::with_capacity(len);
        for _ in 0..len {
            values.push(self.pop()?);
        }
        values.reverse();
        self.push_node(Node::Tuple(values));
        Ok(())
    }

    fn recall(&mut self, index: usize) -> Done<()> {
        let index = u32::try_from(index).map_err(|_| CUT_OFF)?;
        let value = *self.memo.get(&index).ok_or(Stop::Broken("nothing is kept under this number"))?;
        self.push(value);
        Ok(())
    }

    fn keep(&mut self, index: usize) -> Done<()> {
        let index = u32::try_from(index).map_err(|_| CUT_OFF)?;
        let value = self.top()?;
        self.memo.insert(index, value);
        Ok(())
    }

    fn append(&mut self, values: &[Value]) -> Done<()> {
        let Value::Node(list) = self.top()? else { return Err(Stop::Broken("what is appended to is no list")) };
        match self.nodes.get_mut(list) {
            Some(Node::List(list)) => list.extend(values),
            _ => return Err(Stop::Broken("what is appended to is no list")),
        }
        self.in_nodes += values.len();
        Ok(())
    }

    fn set(&mut self, entries: &[Value]) -> Done<()> {
        let Value::Node(dict) = self.top()? else { return Err(Stop::Broken("what is added to is no dictionary")) };
        let (pairs, rest) = entries.as_chunks::<2>();
        match self.nodes.get_mut(dict) {
            Some(Node::Dict(dict)) if rest.is_empty() => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            _ => return Err(Stop::Broken("what is added to is no dictionary, or a key has no value")),
        }
        self.in_nodes += entries.len();
        Ok(())
    }

    /// One instruction; the pickle's value after the last.
    fn step(&mut self) -> Done<Option<Value>> {
        match self.take(1)?[0] {
            // PROTO, FRAME
            0x80 => match self.take(1)?[0] {
                2..=5 => {}
                _ => return Err(Stop::Broken("a protocol from 2 to 5 is expected")),
            },
            0x95 => drop(self.take(8)?),
            b'.' => return self.pop().map(Some),
            // NONE, NEWTRUE, NEWFALSE
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            // BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
            b'J' => {
                let integer = i32::from_le_bytes(self.array()?);
                self.push(Value::Integer(integer.into()));
            }
            b'K' => {
                let integer = self.unsigned(1)?;
                self.push(Value::Integer(integer as i64));
            }
            b'M' => {
                let integer = self.unsigned(2)?;
                self.push(Value::Integer(integer as i64));
            }
            0x8a => {
                let len = self.unsigned(1)?;
                self.long(len)?;
            }
            0x8b => {
                let len = self.unsigned(4)?;
                self.long(len)?;
            }
            b'G' => {
                self.take(8)?;
                self.push(Value::Other);
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            code @ (0x8c | b'X' | 0x8d) => {
                let len = self.unsigned(match code {
                    0x8c => 1,
                    b'X' => 4,
                    _ => 8,
                })?;
                let text = self.text(len)?;
                self.push(Value::Text(text));
            }
            // SHORT_BINSTRING, SHORT_BINBYTES, BINSTRING, BINBYTES, BINBYTES8, BYTEARRAY8
            code @ (b'U' | b'C' | b'T' | b'B' | 0x8e | 0x96) => {
                let len = self.unsigned(match code {
                    b'U' | b'C' => 1,
                    b'T' | b'B' => 4,
                    _ => 8,
                })?;
                self.take(len)?;
                self.push(Value::Other);
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => self.tuple(0)?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let values = self.pop_to_mark()?;
                self.push_node(Node::Tuple(values));
            }
            // EMPTY_LIST, LIST, APPEND, APPENDS
            b']' => self.push_node(Node::List(Vec::new())),
            b'l' => {
                let values = self.pop_to_mark()?;
                self.push_node(Node::List(values));
            }
            b'a' => {
                let value = self.pop()?;
                self.append(&[value])?;
            }
            b'e' => {
                let values = self.pop_to_mark()?;
                self.append(&values)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => self.push_node(Node::Dict(Vec::new())),
            b'd' => {
                let entries = self.pop_to_mark()?;
                self.push_node(Node::Dict(Vec::new()));
                self.set(&entries)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let entries = self.pop_to_mark()?;
                self.set(&entries)?;
            }
            // EMPTY_SET, FROZENSET, ADDITEMS: nobody asks what is in them.
            0x8f => self.push(Value::Other),
            0x91 => {
                self.pop_to_mark()?;
                self.push(Value::Other);
            }
            0x90 => drop(self.pop_to_mark()?),
            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() {
                Some(&mark) if mark == self.stack.len() => drop(self.marks.pop()),
                _ => drop(self.pop()?),
            },
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let value = self.top()?;
                self.push(value);
            }
            // BINGET, LONG_BINGET, BINPUT, LONG_BINPUT, MEMOIZE
            b'h' => {
                let index = self.unsigned(1)?;
                self.recall(index)?;
            }
            b'j' => {
                let index = self.unsigned(4)?;
                self.recall(index)?;
            }
            b'q' => {
                let index = self.unsigned(1)?;
                self.keep(index)?;
            }
            b'r' => {
                let index = self.unsigned(4)?;
                self.keep(index)?;
            }
            0x94 => self.keep(self.memo.len())?,
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Name(known(module, name)?));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(Stop::Broken("a name is not text"));
                };
                let name = known(self.text_of(module), self.text_of(name))?;
                self.push(Value::Name(name));
            }
            // REDUCE, BUILD, BINPERSID
            b'R' => {
                let (arguments, name) = (self.pop()?, self.pop()?);
                self.call(name, arguments)?;
            }
            b'b' => {
                let _state = self.pop()?;
                match self.top()? {
                    Value::Node(index) if matches!(self.nodes.get(index), Some(Node::Dict(_))) => {}
                    _ => return Err(Stop::Refused(needless("sets an object's state"))),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push_node(storage);
            }
            0x81 | 0x92 | b'i' | b'o' => return Err(Stop::Refused(needless("makes an object"))),
            b'P' | 0x82..=0x84 | 0x97 | 0x98 => return Err(Stop::Broken("which torch.save does not write")),
            _ => return Err(Stop::Broken("which a pickle of protocol 2 to 5 does not have")),
        }
        Ok(None)
    }

    /// An integer of any length; longer ones than any size are of no use.
    fn long(&mut self, len: usize) -> Done<()> {
        let bytes = self.take(len)?;
        let negative = bytes.last().is_some_and(|&last| last >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        if len <= 8 {
            wide[..len].copy_from_slice(bytes);
        }
        self.push(if len <= 8 { Value::Integer(i64::from_le_bytes(wide)) } else { Value::Other });
        Ok(())
    }

    fn text_of(&self, text: Text) -> &'a str {
        text.of(self.bytes)
    }

    fn tuple_of(&self, value: Value) -> Done<&[Value]> {
        match value {
            Value::Node(index) => match self.nodes.get(index) {
                Some(Node::Tuple(values)) => Ok(values),
                _ => Err(Stop::Broken("a tuple is expected")),
            },
            _ => Err(Stop::Broken("a tuple is expected")),
        }
    }

    fn call(&mut self, name: Value, arguments: Value) -> Done<()> {
        let Value::Name(name) = name else { return Err(Stop::Broken("what is called is no name")) };
        let arguments = self.tuple_of(arguments)?;
        match name {
            Name::OrderedDict => {
                // A list of pairs, or nothing.
                let mut entries = Vec::new();
                if let [Value::Node(list)] = arguments
                    && let Some(Node::List(pairs)) = self.nodes.get(*list)
                {
                    for pair in pairs {
                        match self.tuple_of(*pair)? {
                            &[key, value] => entries.push((key, value)),
                            _ => return Err(Stop::Broken("a pair is expected")),
                        }
                    }
                } else if !arguments.is_empty() {
                    return Err(Stop::Broken("OrderedDict takes pairs"));
                }
                self.push_node(Node::Dict(entries));
            }
            Name::RebuildTensor => {
                let tensor = self.tensor(arguments)?;
                self.push_node(Node::Tensor(Box::new(tensor)));
            }
            Name::RebuildParameter | Name::Size => {
                let inner = *arguments.first().ok_or(Stop::Broken("an argument is missing"))?;
                self.push(inner);
            }
            Name::Inert => self.push(Value::Other),
            Name::Storage(_) => return Err(Stop::Refused(needless("makes a storage"))),
        }
        Ok(())
    }

    /// (storage, offset, sizes, strides, requires_grad, hooks, and maybe what was done to it since)
    fn tensor(&self, arguments: &[Value]) -> Done<Tensor> {
        let (&[storage, offset, shape, strides, ..], true) = (arguments, (6..=7).contains(&arguments.len())) else {
            return Err(Stop::Broken("a tensor takes 6 or 7 arguments"));
        };
        let untouched = match arguments.get(6) {
            None | Some(Value::Other) => true,
            Some(Value::Node(index)) => matches!(self.nodes.get(*index), Some(Node::Dict(flags)) if flags.is_empty()),
            _ => false,
        };
        if !untouched {
            return Err(Stop::Refused(
                "the pickle holds a tensor that is conjugated or negated when it is read".into(),
            ));
        }
        let Value::Node(storage) = storage else { return Err(Stop::Broken("a tensor has no storage")) };
        let Some(&Node::Storage { of, key, elements }) = self.nodes.get(storage) else {
            return Err(Stop::Broken("a tensor has no storage"));
        };
        let sizes = |value: Value| -> Done<Vec<usize>> {
            let values = self.tuple_of(value)?;
            if values.len() > MOST_AXES {
                return Err(Stop::Broken("a tensor has more than 16 axes"));
            }
            values.iter().map(|&value| natural(value)).collect()
        };
        let (offset, shape, strides) = (natural(offset)?, sizes(shape)?, sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(Stop::Broken("a tensor has not as many strides as sizes"));
        }
        Ok(Tensor { of, key, elements, offset, shape, strides })
    }

    /// ("storage", its type, its key, the device that it was on, its elements)
    fn storage(&self, id: Value) -> Done<Node> {
        let (&[kind, of, key, _, elements, ..], true) = (self.tuple_of(id)?, self.tuple_of(id)?.len() == 5) else {
            return Err(Stop::Broken("a storage is named by 5 values"));
        };
        let (Value::Text(kind), Value::Name(Name::Storage(of)), Value::Text(key)) = (kind, of, key) else {
            return Err(Stop::Broken("what is taken from another file is no storage"));
        };
        if self.text_of(kind) != "storage" {
            return Err(Stop::Broken("what is taken from another file is no storage"));
        }
        Ok(Node::Storage { of, key, elements: natural(elements)? })
    }
}

fn natural(value: Value) -> Done<usize> {
    match value {
        Value::Integer(integer) => usize::try_from(integer).map_err(|_| Stop::Broken("a size is negative")),
        _ => Err(Stop::Broken("a size is no integer")),
    }
}

fn needless(what: &str) -> String {
    format!("the pickle {what}, which a checkpoint of tensors does not need")
}

/// A name, if tensors need it.
fn known(module: &str, name: &str) -> Done<Name> {
    let storage = name.strip_suffix("Storage").and_then(|_| ElementType::of_storage(name));
    match (module, name, storage) {
        ("collections", "OrderedDict", _) => Ok(Name::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2", _) => Ok(Name::RebuildTensor),
        ("torch._utils", "_rebuild_parameter", _) => Ok(Name::RebuildParameter),
        ("torch", "Size", _) => Ok(Name::Size),
        ("torch" | "torch.storage", _, Some(of)) => Ok(Name::Storage(of)),
        (
            "torch",
            "device" | "float64" | "float32" | "float16" | "bfloat16" | "int64" | "int32" | "uint8" | "bool",
            _,
        ) => Ok(Name::Inert),
        _ => {
            // On one line, whatever the file says.
            let whole: String = format!("{module}.{name}").chars().take(100).collect();
            Err(Stop::Refused(needless(&format!("calls {}", whole.escape_debug()))))
        }
    }
}
