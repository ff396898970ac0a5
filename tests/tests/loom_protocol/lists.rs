//! Spinning: lists of instances under the eyes of somebody who holds no lock.

use core::task::Poll;
use std::rc::Rc;

use cpuhp_core::{Calls, Ctx, Instance, Instances, MultiStep, Step, StepResult};
use loom::thread;

use crate::check::{self, Model};
use crate::control::Control;
use crate::steps::grow;
use crate::world::{Family, Plan};

struct Nothing;

impl MultiStep for Nothing {
    fn up(&self, _: &Ctx<'_>) -> StepResult {
        Ok(())
    }
    fn down(&self, _: &Ctx<'_>) -> StepResult {
        Ok(())
    }
}

fn forever<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Whoever sees a link sees what it leads to as it was linked: the way through a list ends, even for one
/// who walks it while an instance goes from its head to its tail.
#[test]
fn i1_list_looker() {
    let plan = Plan {
        slots: 1,
        ..Plan::of(Family::Spinning)
    };
    Model::of("i1_list_looker").check(plan, |world| {
        let control = Control::new(world, &grow::TABLE);
        let list: &'static Instances = forever(Instances::new());
        let both = [(); 2].map(|()| forever(Instance::<dyn MultiStep>::new(&Nothing)));
        let step = forever(Step::new("many:online").multi(list));
        let guard = control.hp.try_write().expect("nobody else runs");
        let begun = guard.register(grow::ONLINE_DYN, step, Calls::Skip);
        let Poll::Ready(Ok(state)) = begun.expect("there is room").poll(&guard) else {
            panic!("nothing is called");
        };
        let at = state.handle.expect("registered").state();
        let add = |one| {
            let mut op = guard.add_instance(at, one, Calls::Skip).expect("legal");
            assert!(op.poll(&guard).is_ready());
        };
        both.into_iter().for_each(add);
        world.live.set(2);
        let theirs = Rc::clone(world);
        thread::spawn(move || {
            assert!(list.count() <= 3);
            check::leave(&theirs, &grow::TABLE);
        });
        let mut op = guard
            .remove_instance(at, both[0], Calls::Skip)
            .expect("legal");
        assert!(op.poll(&guard).is_ready());
        add(both[0]);
        check::leave(world, &grow::TABLE);
    });
}
