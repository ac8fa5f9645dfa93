//! Linear layers: `Y = X W + b`, with the bias as the last row of `W`.
//!
//! Threads that share a sum (split K) add it up in the workgroup's memory.

use super::{Context, Input};
use crate::grid::Place;
use crate::shader::{Access, Element, Kernel, Shader};
use crate::text::{each, lane, wgsl};
use crate::{PlanError, Preset};

/// Sizes of a forward kernel: a workgroup of `columns` x `shares` threads, each with one
/// quad of a row's outputs, `rows` examples and its share of the sum.
struct Forward {
    rows: u32,
    columns: u32,
    shares: u32,
}

/// Threads of a workgroup side by side, and rows of weights a thread, of an update.
struct Block {
    rows: u32,
    columns: u32,
    lines: u32,
}

pub fn forward(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let node = &c.nodes[index];
    let (k, nq) = (node.input.features(), node.made.quads());
    let size = match c.preset {
        Preset::Registers => Forward { rows: c.rows(10), columns: 16, shares: 1 },
        Preset::SplitK => Forward { rows: c.rows(5), columns: 8, shares: 16.min(k.div_ceil(16)) },
    };
    let Forward { rows: tm, columns: ln, shares: ks } = size;
    let mut shader = Shader::new();
    let input = c.input(&mut shader, index, Element::Quad);
    let parameters = c.buffers[index].parameters.unwrap_or_default();
    shader.bind("W", parameters, Access::Read, Element::Quad);
    let first = each(tm, |i| first_quad(c, &input, i, tm, k));
    let sums = wgsl!(
        "for(var k=k0;k<k1;k+=4u){$W$M}",
        W = each(4, |j| wgsl!("let w$J=W[(k+$Ju)*$Qu+n];", J = j, Q = nq)),
        M = each(tm, |i| wgsl!(
            "{let x=$X[x$I+k/4u];a$I+=x.x*w0+x.y*w1+x.z*w2+x.w*w3;}",
            X = input.name,
            I = i
        )),
    );
    let store = |shader: &mut Shader, m: &str, q: &str, sum: &str| {
        let value = wgsl!("$S+W[$Bu+$Q]", S = sum, B = k * nq, Q = q);
        c.store_output(shader, index, &Place::new(m, "0u", "0u", q), &value)
    };
    let end = if ks == 1 {
        let stores = each(tm, |i| {
            let store = store(&mut shader, &format!("m{i}"), "n", &format!("a{i}"));
            wgsl!("if(wg.y*$Tu+$Iu<$Mu){$S}", T = tm, I = i, M = c.batch, S = store)
        });
        wgsl!("if(nn<$Nu){$S}", N = nq, S = stores)
    } else {
        shader.share("red", Element::Quad, ks * ln * tm);
        let store = store(&mut shader, "m", "q", "s");
        wgsl!(
            "$R workgroupBarrier();
for(var t=li;t<$ALLu;t+=$THREADSu){let q=wg.x*$LNu+t%$LNu;let m=wg.y*$TMu+t/$LNu;
 if(q<$NQu&&m<$Mu){var s=red[t];for(var p=1u;p<$KSu;p++){s+=red[p*$ALLu+t];}$STORE}}",
            R = each(tm, |i| wgsl!("red[(l.y*$Tu+$Iu)*$Lu+l.x]=a$I;", T = tm, I = i, L = ln)),
            ALL = ln * tm,
            THREADS = ln * ks,
            LN = ln,
            TM = tm,
            NQ = nq,
            M = c.batch,
            KS = ks,
            STORE = store
        )
    };
    let body = wgsl!(
        "let nn=wg.x*$LNu+l.x;let n=min(nn,$LASTu);let k0=l.y*$SHAREu;let k1=min(k0+$SHAREu,$Ku);
$FIRST\n$SUMS\n$END",
        LN = ln,
        LAST = nq - 1,
        SHARE = k.div_ceil(ks).next_multiple_of(4),
        K = k,
        FIRST = first,
        SUMS = sums,
        END = end
    );
    let groups = [u64::from(nq.div_ceil(ln)), u64::from(c.batch.div_ceil(tm)), 1];
    shader.finish(c.name(index, "linear forward"), [ln, ks], groups, &body, c.limits)
}

/// Example `i` of a thread: its number, its first quad of `k` floats, and its sum.
fn first_quad(c: &Context<'_>, input: &Input, i: u32, tm: u32, k: u32) -> String {
    wgsl!(
        "let m$I=min(wg.y*$Tu+$Iu,$Lu);let x$I=$B;var a$I=vec4<f32>();",
        I = i,
        T = tm,
        L = c.batch - 1,
        B = input.base(&format!("m{i}"), u64::from(k / 4))
    )
}

pub fn backward(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let node = &c.nodes[index];
    let (kq, nq) = (node.input.features() / 4, node.made.quads());
    // `lines` quads of the input a workgroup, each by `shares` threads.
    let (tm, shares, lines) = match c.preset {
        Preset::Registers => (c.rows(10), 1, 64),
        Preset::SplitK => (c.rows(5), 8, 8),
    };
    let mut shader = Shader::new();
    let buffers = &c.buffers[index];
    shader.bind("G", buffers.gradient.unwrap_or_default(), Access::Read, Element::Quad);
    shader.bind("W", buffers.parameters.unwrap_or_default(), Access::Read, Element::Quad);
    let place = |m: &str, k: &str| node.input.place(m, k);
    let begin = each(tm, |i| {
        wgsl!("let m$I=min(wg.y*$Tu+$Iu,$Lu);var a$I=vec4<f32>();", I = i, T = tm, L = c.batch - 1)
    });
    let sums = wgsl!(
        "for(var n=l.x;n<$NQu;n+=$Su){$W$M}",
        NQ = nq,
        S = shares,
        W = each(4, |r| wgsl!("let w$R=W[(k*4u+$Ru)*$Qu+n];", R = r, Q = nq)),
        M = each(tm, |i| wgsl!(
            "{let g=G[m$I*$Qu+n];a$I+=vec4<f32>(dot(g,w0),dot(g,w1),dot(g,w2),dot(g,w3));}",
            I = i,
            Q = nq
        )),
    );
    let end = if shares == 1 {
        let stores = each(tm, |i| {
            let at = place(&format!("m{i}"), "k");
            let store = c.store_gradient(&mut shader, index - 1, &at, &format!("a{i}"));
            wgsl!("if(wg.y*$Tu+$Iu<$Mu){$S}", T = tm, I = i, M = c.batch, S = store)
        });
        wgsl!("if(kk<$Ku){$S}", K = kq, S = stores)
    } else {
        shader.share("red", Element::Quad, shares * lines * tm);
        let store = c.store_gradient(&mut shader, index - 1, &place("m", "q"), "s");
        wgsl!(
            "$R workgroupBarrier();
for(var t=li;t<$ALLu;t+=$THREADSu){let q=wg.x*$LINESu+t%$LINESu;let m=wg.y*$TMu+t/$LINESu;
 if(q<$KQu&&m<$Mu){var s=red[t];for(var p=1u;p<$Su;p++){s+=red[p*$ALLu+t];}$STORE}}",
            R = each(tm, |i| wgsl!(
                "red[l.x*$Au+$Iu*$Lu+l.y]=a$I;",
                A = lines * tm,
                I = i,
                L = lines
            )),
            ALL = lines * tm,
            THREADS = lines * shares,
            LINES = lines,
            TM = tm,
            KQ = kq,
            M = c.batch,
            S = shares,
            STORE = store
        )
    };
    let body = wgsl!(
        "let kk=wg.x*$Lu+l.y;let k=min(kk,$LASTu);$BEGIN\n$SUMS\n$END",
        L = lines,
        LAST = kq - 1,
        BEGIN = begin,
        SUMS = sums,
        END = end
    );
    let groups = [u64::from(kq.div_ceil(lines)), u64::from(c.batch.div_ceil(tm)), 1];
    shader.finish(c.name(index, "linear backward"), [shares, lines], groups, &body, c.limits)
}

pub fn update(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let node = &c.nodes[index];
    let (k, nq) = (node.input.features(), node.made.quads());
    let most = match c.preset {
        Preset::Registers => Block { rows: 16, columns: 16, lines: 4 },
        Preset::SplitK => Block { rows: 4, columns: 16, lines: 8 },
    };
    let rows = [16, 8, 4].into_iter().find(|&rows| rows <= most.rows && k.is_multiple_of(rows));
    let Block { rows, columns, lines } = Block { rows: rows.unwrap_or(4), ..most };
    let mut shader = Shader::new();
    let input = c.input(&mut shader, index, Element::Quad);
    let buffers = &c.buffers[index];
    shader.bind("G", buffers.gradient.unwrap_or_default(), Access::Read, Element::Quad);
    c.update.declare(&mut shader, c.shared.rates, buffers);
    let products = |q: u32| {
        let parts = each(4, |j| wgsl!("a$A+=x.$L*g;", A = q * 4 + j, L = lane(j)));
        wgsl!("{let x=$X[xb+$Qu];$P}", X = input.name, Q = q, P = parts)
    };
    let body = wgsl!(
        "let n=wg.x*$COLSu+l.x;let kb=wg.y*$LINESu+l.y;if(n>=$NQu||kb>=$BLOCKSu){return;}
$SUMS var s=vec4<f32>();
for(var m=0u;m<$Mu;m++){let g=G[m*$NQu+n];s+=g;let xb=$BASE+kb*$RQu;$PRODUCTS}
$UPDATES if(kb==0u){updated($BIASu+n,s);}",
        COLS = columns,
        LINES = lines,
        NQ = nq,
        BLOCKS = k / rows,
        SUMS = each(rows, |r| wgsl!("var a$R=vec4<f32>();", R = r)),
        M = c.batch,
        BASE = input.base("m", u64::from(k / 4)),
        RQ = rows / 4,
        PRODUCTS = each(rows / 4, products),
        UPDATES =
            each(rows, |r| wgsl!("updated((kb*$Bu+$Ru)*$Nu+n,a$R);", B = rows, R = r, N = nq)),
        BIAS = k * nq
    );
    let groups = [u64::from(nq.div_ceil(columns)), u64::from((k / rows).div_ceil(lines)), 1];
    shader.finish(c.name(index, "linear update"), [columns, lines], groups, &body, c.limits)
}
